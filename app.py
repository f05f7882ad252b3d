"""The dashboard: ``streamlit run app.py``."""

from attention_analyzer.dashboard.main import main

main()

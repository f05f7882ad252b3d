"""What ``attn app`` lets Streamlit run; in a checkout ``app.py`` does the same."""

from attention_analyzer.dashboard.main import main

main()

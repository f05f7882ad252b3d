"""The Streamlit dashboard: the public interface and the viewer arranged for a person, without logic of its own."""

"""What ``attn app`` runs: Streamlit, and beside its start the import of what the first visitor's page needs.

``streamlit run app.py`` does without: there words and numbers wait for torch and transformers.
"""

from __future__ import annotations

from threading import Thread


def main() -> None:
    """Serve, with the arguments of ``streamlit`` itself."""
    from streamlit.web.cli import main as streamlit

    Thread(target=_import, name="attention-import", daemon=True).start()
    streamlit(prog_name="streamlit")


def _import() -> None:
    import attention_analyzer.analyzer
    import attention_analyzer.models.loading
    import attention_analyzer.patterns
    import attention_analyzer.recording
    import attention_analyzer.view.content  # noqa: F401


if __name__ == "__main__":
    main()

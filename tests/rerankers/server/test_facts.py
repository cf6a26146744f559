"""What a server states is recorded on one line, short, and without secrets."""

from evalkit.boundary import redaction
from evalkit.rerankers.server.facts import short


def test_a_secret_at_the_end_of_a_recorded_text_is_redacted_before_the_text_is_cut() -> None:
    redaction.add_secrets({"key_env": "my-own-secret-key"})
    recorded = short("x" * 195 + " my-own-secret-key\n")
    redaction.known_secrets.clear()
    assert "my-o" not in recorded
    assert len(recorded) <= 200

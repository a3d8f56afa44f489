"""Progress without a terminal: silent when short, a line now and then when long."""

from myosotis.engine import progress


def test_short_work_is_silent_and_long_work_says_where_it_is(capsys, monkeypatch):
    with progress.progress("counting", 3) as ticker:
        ticker.advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", -1.0)
    with progress.progress("counting", 3) as ticker:
        ticker.advance(2, "(almost)")
    assert capsys.readouterr().err == "  counting (almost): 2/3\n"

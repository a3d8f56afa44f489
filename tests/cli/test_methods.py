"""``myosotis methods``."""

import json

from myosotis.jobs import JOBS


def test_every_method_has_a_line(invoke):
    outcome = invoke("methods")
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    for job in JOBS.values():
        for table in job.method_tables().values():
            for name in table:
                assert any(line.strip().startswith(f"{name} ") and table.card(name).title in line for line in lines)


def test_a_job_has_its_own_list(invoke):
    outcome = invoke("methods", "pretrain")
    assert "pretrain, masker" in outcome.stdout
    assert "icarl" not in outcome.stdout


def test_exact_forgetting_has_its_own_list(invoke):
    lines = invoke("methods", "unlearn-exact").stdout.splitlines()
    assert lines[0] == "unlearn-exact, heads of sums"
    assert "model: {learner: RUN}" in invoke("methods", "exact").stdout


def test_one_method_is_printed_with_paper_and_settings(invoke):
    outcome = invoke("methods", "npo")
    assert outcome.exit_code == 0
    assert "paper     Zhang, Lin, Bai, Mei" in outcome.stdout
    assert "    beta: 0.1  # Inverse temperature" in outcome.stdout


def test_a_name_of_two_jobs_is_printed_for_both(invoke):
    assert invoke("methods", "ewc").stdout.count("  paper ") == 2


def test_json_has_cards_and_settings(invoke):
    content = json.loads(invoke("methods", "icarl", "--json").stdout)
    card = content["learn-classes"][0]
    assert card["name"] == "icarl"
    assert all(setting["description"] for setting in card["settings"].values())


def test_an_unknown_method_is_refused(invoke):
    outcome = invoke("methods", "icarrl")
    assert outcome.exit_code == 2
    assert "did you mean 'icarl'?" in outcome.stderr

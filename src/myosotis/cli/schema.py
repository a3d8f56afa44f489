"""``myosotis schema``: the JSON schema of a configuration."""

import json

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import JobName
from myosotis.cli.kinds import job_named


def schema(job: JobName) -> None:
    """Print the JSON schema of a job's configuration: every key with its type, range, default and a sentence.

    Editors complete and check YAML with it, e.g. by `# yaml-language-server: $schema=FILE` in the first line.
    """
    with exit_statuses(resumes=False):
        kind = job_named(job)
        content = kind.schema().model_json_schema()
        content["title"] = f"myosotis {kind.command}"
        content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))

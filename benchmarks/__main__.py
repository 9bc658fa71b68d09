"""`make bench`: the pace of the pipeline on this machine."""

import click

from benchmarks.pace import as_json, measure


@click.command()
@click.option("--events", default=1_000_000, show_default=True, type=click.IntRange(min=10_000), help="Preloaded.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def main(events: int, seed: int, json_output: bool) -> None:
    """Preload events, start the workers, and time from rows to windows.

    Example: python -m benchmarks --events 1000000
    """
    pace = measure(events, seed)
    if json_output:
        click.echo(as_json(pace))
        return
    click.echo(f"{pace.events:,} events in {pace.seconds} s: {pace.events_per_s:,} events/s landed and in windows")
    for name, cost in pace.costs.items():
        memory = f"{cost.rss_mb[0]} to {cost.rss_mb[-1]} MB" if cost.rss_mb else ""
        click.echo(f"  {name:12} {cost.cpu_s_per_million:8.2f} CPU-s per million  {memory}")


if __name__ == "__main__":
    main()

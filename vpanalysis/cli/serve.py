"""``vpanalysis serve``: the playbook's metrics endpoints over HTTP."""

import click

from vpanalysis.cli.source_option import ops_token_option, resolve_source, resolve_token, source_option
from vpanalysis.errors import InputError


@click.command()
@source_option("A runtime database, or 'sample'", lane=False)
@ops_token_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8002,
    show_default=True,
    help="The port to listen on; 0 takes a free one.",
)
@click.option(
    "--allow-host",
    metavar="NAME",
    multiple=True,
    help="Answer requests that name this host, besides --host and localhost; may be given more than once.",
)
@click.option("--allow-open", is_flag=True, help="Serve other machines without a token.")
def serve(
    source: str | None, ops_token: str | None, host: str, port: int, allow_host: tuple[str, ...], allow_open: bool
) -> None:
    """Serves the metrics of a runtime database: the gateway's endpoints, counted from all events.

    When a token is set (--ops-token, UA_OPS_TOKEN or .env), the ops endpoints require it.
    """
    location, token = resolve_source(source), resolve_token(ops_token)
    try:
        from vpanalysis.front_door import is_loopback
        from vpanalysis.serve import create_app, run
    except ImportError:
        raise InputError("serve needs FastAPI and uvicorn: pip install 'vpanalysis[serve]'.") from None
    from vpanalysis.data.source import SqliteSource, open_source

    if token is None and not allow_open and not is_loopback(host):
        raise InputError(
            f"Without a token everybody who reaches {host} could read the lane's metrics: set UA_OPS_TOKEN, or say "
            "--allow-open."
        )
    opened = open_source(location)
    if not isinstance(opened, SqliteSource):
        raise InputError("serve reads a runtime database: give its path, not a URL or a snapshot.")
    with opened:
        app = create_app(opened, token, [host, *allow_host])
        run(app, host, port, lambda url: click.echo(f"Serving {opened.name} on {url}", err=True))

"""`mmkit serve`: trained runs behind an HTTP API, with a page."""

from __future__ import annotations

from pathlib import Path

import click

from mmkit.cli.options import device_option, network_option
from mmkit_serve.settings import KEY, MEGA, Settings, key_from

NO_KEY = "without a key, everybody who reaches this address can use the runs"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--host", default=Settings.host, show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=Settings.port, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another name of this machine in requests.")
@click.option("--without-key", is_flag=True, help="Listen beyond this machine although no key is set.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Default: the recipe's eval_batch_size.")
@click.option(
    "--batch-wait", default=1000 * Settings.batch_wait, show_default=True, type=click.FloatRange(0, 1000),
    help="Milliseconds for which the first request waits for others.",
)  # fmt: skip
@click.option(
    "--queue", default=Settings.queue, show_default=True, type=click.IntRange(min=1),
    help="Texts that may wait for the model.",
)  # fmt: skip
@click.option(
    "--max-body",
    default=Settings.max_body / MEGA,
    show_default=True,
    type=click.FloatRange(0.001, 1000),
    help="MB.",
)
@click.option(
    "--max-batch-body", default=Settings.max_batch_body / MEGA, show_default=True, type=click.FloatRange(0.001, 10_000),
    help="MB of a batch upload.",
)  # fmt: skip
@click.option(
    "--max-pixels",
    default=Settings.max_pixels / MEGA,
    show_default=True,
    type=click.FloatRange(0.001, 64),
    help="Megapixels.",
)
@click.option(
    "--max-images",
    default=Settings.max_images,
    show_default=True,
    type=click.IntRange(min=0),
    help="Images of a text.",
)
@click.option(
    "--timeout",
    default=Settings.timeout,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds for an answer.",
)
@click.option(
    "--stop-timeout", default=Settings.stop_timeout, show_default=True, type=click.IntRange(min=1),
    help="Seconds for requests in flight when the server is stopped.",
)  # fmt: skip
@click.option(
    "--entities",
    type=click.Path(path_type=Path),
    help="A knowledge base in jsonlines, for the runs that link, instead of their own.",
)
@click.option(
    "--images-from",
    "pictures",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    help="A folder whose images of entities may be shown too; may be repeated. Default: those of the knowledge base.",
)
@click.option("--log-texts", is_flag=True, help="Let logs contain texts and messages that quote them.")
@device_option
@network_option
def serve(
    runs: tuple[str, ...],
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    without_key: bool,
    batch_size: int | None,
    batch_wait: float,
    queue: int,
    max_body: float,
    max_batch_body: float,
    max_pixels: float,
    max_images: int,
    timeout: float,
    stop_timeout: int,
    entities: Path | None,
    pictures: tuple[Path, ...],
    log_texts: bool,
    device: str,
    allow_network: bool,
) -> None:
    """Answer requests with the trained models in the folders RUN (or NAME=RUN), over HTTP.

    The page is at the address that is printed, the API's description at /docs. Clients must send the key in the
    environment variable MMKIT_SERVE_KEY, if it is set. SIGTERM or Ctrl-C stops the server when the requests in flight
    are answered.
    """
    from mmkit.cli.options import quiet_libraries
    from mmkit.errors import MMKitError
    from mmkit.terminal import echo

    settings = Settings(
        host=host,
        port=port,
        key=key_from(),
        hosts=allow_host,
        batch_size=batch_size,
        batch_wait=batch_wait / 1000,
        queue=queue,
        max_body=int(max_body * MEGA),
        max_batch_body=int(max_batch_body * MEGA),
        max_pixels=int(max_pixels * MEGA),
        max_images=max_images,
        timeout=timeout,
        stop_timeout=stop_timeout,
        log_texts=log_texts,
    )
    if not settings.on_loopback and not settings.key and not without_key:
        raise MMKitError(
            NO_KEY,
            where=f"--host {host}",
            hint=f"set {KEY} to a long random text, or say --without-key",
            code="serve.no-key",
        )
    quiet_libraries()
    from mmkit_serve.app import make_app
    from mmkit_serve.logs import log, set_up
    from mmkit_serve.runs import load_runs
    from mmkit_serve.server import address, bind, server

    with bind(settings) as listening:
        loaded = load_runs(runs, device, entities=entities, pictures=pictures, allow_network=allow_network)
        app = make_app(loaded, settings)
        set_up(log_texts)

        def ready() -> None:
            named = {name: run.version for name, run in loaded.items()}
            log("started", address=address(listening), runs=named)
            echo(f"serving {', '.join(loaded)} on {address(listening)} (API: {address(listening)}/docs)")

        server(app, settings, ready).run(sockets=[listening])
        log("stopped")

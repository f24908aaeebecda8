"""``ebomlc pack``: the images of a run, packed into one file that FFCV reads fast."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from ebomlc_dist.cli.flags import describes_a_run

if TYPE_CHECKING:
    from torch import Tensor

    from ebomlc_dist.data.inputs.lazy import ImageFiles
    from ebomlc_dist.recipes.assemble import Request


@describes_a_run
def pack(
    request: "Request",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")] = False,
) -> int:
    """Pack the training images of a run for --loader ffcv. Give the same arguments as to `ebomlc train`."""
    from ebomlc_dist.data.dataset import are_features, digest_of
    from ebomlc_dist.data.datasets import load_source
    from ebomlc_dist.data.loaders.ffcv_extra import require_ffcv
    from ebomlc_dist.data.loaders.ffcv_pack import checked_file, pack_folder, read_pack
    from ebomlc_dist.data.loaders.ffcv_writer import write_pack
    from ebomlc_dist.errors import InputError
    from ebomlc_dist.monitoring.progress import counting
    from ebomlc_dist.recipes.assemble import resolve

    require_ffcv()
    config = resolve(request)[0].config
    data = config.data
    folder = pack_folder(data)
    # Decoded as they are packed: they may not fit into memory.
    source = load_source(data.model_copy(update={"loader": "dataloader"}), model=config.model.name)
    if are_features(source.images):
        raise InputError("`ebomlc pack` packs images, and these data are features, which are mapped as they lie")
    digest = digest_of(source.images, source.image_digests[0] if source.image_digests else None)
    try:
        found = read_pack(folder)
        if found is not None and found.images_digest == digest:
            checked_file(folder, found)
            print(f"{found.num_images} images are packed already: {folder / found.file}")
            return 0
    except InputError:
        pass  # damaged: packed anew
    with counting("pack", enabled=not quiet) as progress:
        written = write_pack(folder, cast("Tensor | ImageFiles", source.images), digest, progress)
    print(f"{written.num_images} images, {written.size / 2**30:.2f} GiB: {folder / written.file}")
    return 0

"""Messages that name flags of the command line, in words of `ebomlc_dist.fit`: its arguments, or keys of settings."""

import re

from ebomlc_dist.recipes.flags import FLAGS

_ARGUMENTS = {
    "model.name": "`model=`",
    "data.image_size": "`image_size=`",
    "train.epochs": "`epochs=`",
    "data.clean_csv": "`trusted=`",
    "data.test_csv": "`test=`",
    "data.clean_from_noisy": "`clean_from_noisy=True`",
}
_FOLDER = (
    (re.compile(r"`--resume auto -o '?([^`']+)'?`"), r"`output_dir='\1', resume=True`"),
    (re.compile(r"`-o FOLDER`|(?<=with )-o\b"), "`output_dir=`"),
    (re.compile(r"--method\b"), "`method=`"),
)
_SET = re.compile(r"--set (?=[\w.]+=)")
_FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")
_KEYS = {name: flag.key for flag in FLAGS for name in flag.names}


def in_python(message: str) -> str:
    """Return ``message`` with each flag replaced by the argument of ``fit``, or the dotted key, that stands for it.

    A flag without either, which no array leads to, stays as it is.
    """
    for pattern, words in _FOLDER:
        message = pattern.sub(words, message)
    told, keys = _SET.subn("", message)

    def word(found: re.Match[str]) -> str:
        nonlocal keys
        key = _KEYS.get(found[0])
        if key is None:
            return found[0]
        keys += key not in _ARGUMENTS
        return _ARGUMENTS.get(key, key)

    told = _FLAG.sub(word, told)
    return f"{told} (dotted keys go into `settings=`)" if keys else told

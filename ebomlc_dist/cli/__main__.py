"""``python -m ebomlc_dist.cli``: what a launcher starts, whether or not the script ``ebomlc`` is on the path."""

from ebomlc_dist.cli import main

if __name__ == "__main__":
    main()

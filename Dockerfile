# ebomlc_dist with FFCV and DeepSpeed; docs/container.md has its use.
#
#   docker build --tag ebomlc .
#   docker build --tag ebomlc --build-arg BASE=debian:12-slim --build-arg EXTRAS= --build-arg TORCH_BACKEND=cpu .
#
# BASE is a Debian or Ubuntu with Python >= 3.11 in its packages. EXTRAS are those of locks/ that are wanted: FFCV and
# DeepSpeed are built from source, and can be left out where that fails. PyTorch brings CUDA's libraries in its wheels;
# TORCH_BACKEND=cpu takes its build without them, for machines without a GPU.
ARG BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM ${BASE}

# The compiler and Python's headers stay: `--compile`, Triton and DeepSpeed's operators build code when a run starts.
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/venv \
 && useradd --no-log-init --create-home --uid 10001 ebomlc
ENV PATH=/opt/venv/bin:${PATH}

WORKDIR /opt/ebomlc
COPY locks/base.lock locks/uv.lock locks/
COPY tools/without_cuda tools/
ARG TORCH_BACKEND=
RUN if [ -n "${TORCH_BACKEND}" ]; then tools/without_cuda "${TORCH_BACKEND}"; \
    else pip install --no-cache-dir --no-deps --require-hashes --requirement locks/base.lock; fi

# What builds a package comes from base.lock too, not from an isolated environment of unpinned ones.
ARG EXTRAS="ffcv deepspeed"
COPY locks locks/
COPY tools/opencv_for_ffcv tools/
RUN case " ${EXTRAS} " in *" ffcv "*) tools/opencv_for_ffcv /tmp/opencv && rm -rf /var/lib/apt/lists/* ;; esac \
 && for extra in ${EXTRAS}; do \
      PKG_CONFIG_PATH=/tmp/opencv pip install --no-cache-dir --no-deps --require-hashes \
        --use-pep517 --no-build-isolation --requirement "locks/${extra}.lock" || exit 1; \
    done \
 && rm -rf /tmp/opencv

COPY pyproject.toml README.md LICENSE train.py ./
COPY launch_configs launch_configs/
COPY ebomlc_dist ebomlc_dist/
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
 && python -m compileall -q ebomlc_dist \
 && install --directory --owner 10001 --group 10001 runs

# A number, as Kubernetes' runAsNonRoot asks for.
USER 10001:10001
HEALTHCHECK --interval=5m --timeout=30s CMD ["ebomlc", "--version"]
CMD ["ebomlc", "--help"]

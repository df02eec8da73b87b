# The images of the server: `cpu` (what you get unless you ask), `gpu`, and `cluster`, which is `cpu` with what servers
# need that share jobs or a Ray cluster, or send traces.
#   docker build -t unmingle:cpu .
#   docker build --target gpu -t unmingle:gpu .
#   docker build --target cluster -t unmingle:cluster .
# Of the base it is only assumed that it has Python 3.11 or later, with venv and pip, on a Debian.
ARG BASE_IMAGE=python:3.12-slim-bookworm

# Our own wheel, put into a tree of its own, so that a new model or line of code costs one small layer.
FROM ${BASE_IMAGE} AS package
WORKDIR /source
COPY docker/requirements-build.txt docker/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r docker/requirements-build.txt \
    && python3 -m venv --without-pip /opt/unmingle
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY unmingle unmingle
COPY model model
COPY service service
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/python -m pip --python /opt/unmingle/bin/python install --no-cache-dir --no-deps --no-index \
        --prefix /package /wheels/*.whl

# The model in float16 is for GPUs.
FROM package AS package-cpu
RUN rm /package/lib/python3*/site-packages/unmingle/model/weights/unmingle-float16.onnx

FROM ${BASE_IMAGE} AS dependencies-cpu
COPY docker/requirements-cpu.txt docker/trim /locks/
RUN python3 -m venv --without-pip /opt/unmingle \
    && python3 -m pip --python /opt/unmingle/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r /locks/requirements-cpu.txt \
    && sh /locks/trim /opt/unmingle

# What both images have in common.
FROM ${BASE_IMAGE} AS runtime
RUN groupadd --gid 10001 unmingle \
    && useradd --uid 10001 --gid unmingle --no-create-home --home-dir /data --shell /usr/sbin/nologin unmingle \
    && install --directory --owner unmingle --group unmingle --mode 0700 /data
COPY docker/health.py /usr/local/lib/unmingle/health.py
ENV PATH=/opt/unmingle/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    UNMINGLE_HOST=0.0.0.0 \
    UNMINGLE_PORT=8000 \
    UNMINGLE_DATA_DIR=/data \
    UNMINGLE_LOG_FORMAT=json
ARG VERSION=unspecified
LABEL org.opencontainers.image.title="Unmingle" \
    org.opencontainers.image.description="Separates a recording in which several sounds overlap into each sound on its own." \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python3", "/usr/local/lib/unmingle/health.py"]
ENTRYPOINT ["unmingle"]
CMD ["serve"]

FROM runtime AS cpu
COPY --from=dependencies-cpu /opt/unmingle /opt/unmingle
COPY --from=package-cpu /package /opt/unmingle

# CUDA and cuDNN come as wheels, in the versions that ONNX Runtime asks for; of the machine only the driver is needed.
# The old builder, the one without BuildKit, runs all stages that stand above the one it is asked for. So that it does
# not fetch 2 GB for the CPU image, it gets CUDA only when told: --build-arg GPU=1.
FROM ${BASE_IMAGE} AS dependencies-gpu
ARG TARGETPLATFORM
ARG GPU=${TARGETPLATFORM}
COPY docker/requirements-gpu.txt /locks/
RUN python3 -m venv --without-pip /opt/unmingle \
    && if [ -n "${GPU}" ]; then \
        python3 -m pip --python /opt/unmingle/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
            -r /locks/requirements-gpu.txt; \
    fi

FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    UNMINGLE_DEVICE=cuda
COPY --from=dependencies-gpu /opt/unmingle /opt/unmingle
COPY --from=package /package /opt/unmingle

# As for the GPU: the old builder gets it only when told, --build-arg CLUSTER=1.
FROM ${BASE_IMAGE} AS dependencies-cluster
ARG TARGETPLATFORM
ARG CLUSTER=${TARGETPLATFORM}
COPY docker/requirements-cluster.txt docker/trim /locks/
RUN python3 -m venv --without-pip /opt/unmingle \
    && if [ -n "${CLUSTER}" ]; then \
        python3 -m pip --python /opt/unmingle/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
            -r /locks/requirements-cluster.txt \
        && sh /locks/trim /opt/unmingle; \
    fi

FROM runtime AS cluster
ENV RAY_USAGE_STATS_ENABLED=0
COPY --from=dependencies-cluster /opt/unmingle /opt/unmingle
COPY --from=package-cpu /package /opt/unmingle

FROM cpu

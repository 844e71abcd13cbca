# One image for all processes: predictive-scaling operator | ingest | api | train | migrate.
# `make image` builds it where a container engine is found; without one, tests/integration/test_image.py runs the steps.

# A release passes this image with its digest: --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /build
COPY requirements-image.lock ./
RUN uv venv /opt/venv && uv pip install --python /opt/venv --require-hashes --no-deps -r requirements-image.lock
COPY pyproject.toml requirements-supply-chain.lock README.md LICENSE ./
COPY operator/predictive_scaling operator/predictive_scaling
COPY forecasting forecasting
RUN uv build --wheel --out-dir dist --build-constraints requirements-supply-chain.lock --require-hashes \
    && uv pip install --python /opt/venv --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
# LightGBM needs OpenMP's run-time library.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 65532 --no-create-home --shell /usr/sbin/nologin app
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
# The runbook's import paths and the constants it tells people to edit. The package itself is in /opt/venv only.
COPY operator/src src
COPY config/settings.py config/settings.py
RUN mkdir -p models /var/log/predictive-scaling && chown app models /var/log/predictive-scaling
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1
USER 65532
EXPOSE 8000 8001 8002 8003 8443
ENTRYPOINT ["predictive-scaling"]
CMD ["operator"]

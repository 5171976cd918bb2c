# aiotask with everything it needs and nothing else. Build on it, or mount your code at /app:
#
#   docker build -t aiotask .
#   docker run --rm -e AIOTASK_URL=redis://host:6379/0 -e AIOTASK_SECRET=... -v "$PWD:/app:ro" aiotask worker shop.tasks
#
# Every flag has an environment variable: AIOTASK_APP=shop.tasks alone makes the default command do.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/aiotask \
    && wheel=$(ls /wheels/aiotask-*.whl) \
    && /opt/aiotask/bin/python -m pip install --no-cache-dir "${wheel}[json]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/aiotask /opt/aiotask
RUN useradd --create-home --uid 10001 aiotask
# A container has no server of its own: without AIOTASK_URL the worker refuses to start and says so. Probes come from
# outside, once AIOTASK_HEALTH_PORT says where to.
ENV PATH=/opt/aiotask/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AIOTASK_EMBEDDED=0 \
    AIOTASK_HEALTH_HOST=0.0.0.0
WORKDIR /app
USER aiotask
# The supervisor is PID 1: it reaps what its workers leave behind, and TERM drains.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=10s --retries=3 CMD ["aiotask", "doctor", "--ready"]
ENTRYPOINT ["aiotask"]
CMD ["worker"]

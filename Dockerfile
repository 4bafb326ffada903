# The server in a container: docker build -t mldebugger . && docker run -p 8000:8000 -v mldebugger:/data mldebugger
# With PostgreSQL and an object store: docker-compose.yml. docs/guides/server.md explains both.
FROM python:3.12-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir build==1.6.1 && python -m build --wheel --outdir /wheels .

FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /tmp/wheels/*.whl)[server]" && rm -r /tmp/wheels \
    && useradd --system --uid 10001 --create-home mldebugger \
    && install -d -o mldebugger -g mldebugger /data
USER mldebugger
ENV MLD_HOME=/data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["mldebugger"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

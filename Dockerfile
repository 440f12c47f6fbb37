# A classroom's image: the course with its environment and its model, for one reader a container.
#
#   docker build -t minieng .
#   docker run --rm -p 127.0.0.1:8888:8888 minieng      then open the address that it prints
FROM python:3.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev libgomp1 make \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home reader
USER reader
WORKDIR /home/reader/course
COPY --chown=reader . .
RUN TORCH=cpu make model
EXPOSE 8888
CMD [".venv/bin/python", "-m", "jupyterlab", "--no-browser", "--ip=0.0.0.0", "--port=8888", \
     "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]

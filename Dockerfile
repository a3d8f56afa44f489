# CPU:  docker build -t myosotis .
# CUDA: docker build -t myosotis:cuda --build-arg BASE=pytorch/pytorch:TAG .   with a runtime TAG for your driver
#
# docker run --rm -v "$PWD":/work myosotis demo
ARG BASE=python:3.12-slim
FROM ${BASE}

# For a CPU, PyTorch's own builds are a tenth of the size. An image of PyTorch has it already.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -c 'import torch' 2>/dev/null || pip install --no-cache-dir --index-url ${TORCH_INDEX} torch torchvision

ARG EXTRAS=all
COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]" && rm -rf /src

# Runs belong to the user of the folder that is mounted, see --user.
WORKDIR /work
ENV HF_HUB_DISABLE_TELEMETRY=1 MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["myosotis"]
CMD ["--help"]

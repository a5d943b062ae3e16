#!/usr/bin/env bash
# Gets NVIDIA's disassembler from PyPI into the user's cache folder, once, and prints the folder that `nvdisasm` is in:
#
#   LD_LIBRARY_PATH=$(bash gpu/nvrtc.sh) NVDISASM=$(bash gpu/disassembler.sh)/nvdisasm cargo run -p advantage-nas-gpu --example ring_2
#
# Needs python3 with pip. The version is fixed, as what it prints is read by a program; it reads the code of older compilers.
set -euo pipefail
version=13.5.37
folder=${ADVNAS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/advantage-nas}/nvdisasm-$version
place=nvidia/cu13/bin
if [ ! -x "$folder/$place/nvdisasm" ]; then
  mkdir -p "$(dirname "$folder")"
  temporary=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$temporary"' EXIT
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target "$temporary" "nvidia-cuda-nvdisasm==$version" >&2
  # Appears as a whole; if another process was faster, its copy is as good.
  mv -T "$temporary" "$folder" 2>/dev/null || [ -x "$folder/$place/nvdisasm" ]
fi
printf '%s\n' "$folder/$place"

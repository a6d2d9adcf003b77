#!/bin/sh
# A row of the README's table from Kaggle's CSV: the best that two CPU cores make, VGG8 for 120 epochs, the mean of its
# last 12 snapshots, each image of PublicTest and PrivateTest scored once, over ten crops too, and the net exported.
# With a GPU the best single net of all, by PublicTest, is NET=vgg13 GPU=0.
#
#     scripts/speedrun.sh fer2013.csv              (make speedrun CSV=fer2013.csv installs what it needs first)
#
# VGG8 takes under 2 hours on two CPU cores that have AVX-512 with bf16 (fer doctor tells); without it the training is in
# fp32 and takes several times as long. Stopped and started again, it goes on where it was. In the environment:
# DATA, NAME  the data directory (data/fer2013) and the run's name in runs/ (speedrun-NET)
# NET, SOLVER  a net (vgg8), and one of its solvers or a file (s1)
# GPU         the number of the GPU that trains (none: the CPU)
# PRECISION   auto: bf16 where the processor or the GPU calculates in it, else fp32
# LAST        how many snapshots are averaged (12, chosen on PublicTest)
set -eu
csv=${1:?give the CSV: scripts/speedrun.sh fer2013.csv}
data=${DATA:-data/fer2013} net=${NET:-vgg8}
name=${NAME:-speedrun-$net}
run=runs/$name

fer prepare "$csv" --out "$data"
if ! test -e "$run"; then
    fer train --net "$net" --solver "${SOLVER:-s1}" --data "$data" --name "$name" \
        --engine pytorch --gpu "${GPU:-none}" --precision "${PRECISION:-auto}" --shuffle --seed 1
elif ! grep -q '"state": "finished"' "$run/run.json"; then
    fer train --resume "$run" --engine pytorch
fi
fer average "$run" --last "${LAST:-12}"
fer report "$run" --ten-crop
fer export "$run"

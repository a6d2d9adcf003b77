"""A net as a table: its layers with what they give, learn and cost."""

import math

from fer.formats.prototxt import read_net
from fer.nets.catalog import millions
from fer.nets.shapes import infer_shapes
from fer.report.table import Column, Table
from fer.runs.run import Run


def net_table(run: Run) -> Table:
    """A row for each layer of the net for use: its type, the shape of its output, parameters and multiply-adds.

    Raises FerError where deploy.prototxt cannot be read, or a layer's shapes are not known.
    """
    net = read_net(run.deploy)
    shapes = infer_shapes(net)
    rows = []
    for layer in net.layer:
        parameters = sum(math.prod(shape) for shape in shapes.params.get(layer.name, []))
        work = shapes.multiply_adds.get(layer.name, 0)
        output = " ".join("x".join(map(str, shapes.blobs[top][1:])) for top in layer.top)
        rows.append((layer.name, layer.type, output, parameters or None, work or None))
    columns = (
        Column("layer", left=True),
        Column("type", left=True),
        Column("output", left=True),
        Column("parameters", "{:,}".format),
        Column("multiply-adds", millions),
    )
    total = ("all", "", "", shapes.param_count, sum(shapes.multiply_adds.values()))
    return Table(columns, tuple(rows), total)

"""Ways out of a fit: ArviZ, files, the screen, pictures."""

from bbvi.result.ways_out import register

register("arviz", "bbvi.output.arviz:to_arviz")
register("html", "bbvi.output.display:html")
register("load", "bbvi.output.storage:read")
register("pack", "bbvi.output.storage:packed")
register("plot", "bbvi.output.plots:plot")
register("save", "bbvi.output.storage:save")
register("text", "bbvi.output.display:text")
register("unpack", "bbvi.output.storage:unpacked")

"""Charts as SVG text, and the look of the pages that hold them: no script and no other file is needed."""

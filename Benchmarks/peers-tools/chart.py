"""Bar charts as SVG, by hand: a few rectangles and words, readable on light and dark pages."""
from html import escape

COLOURS = ["#d9480f", "#1c7ed6", "#2f9e44", "#9c36b5", "#868e96", "#e8b10c"]
LEFT, TOP, BOTTOM, HEIGHT = 46, 44, 34, 260


def step_for(highest):
    """A round distance of grid lines, five or so of them."""
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if highest / step <= 7:
            return step
    return highest / 5


def text(x, y, words, size=12, anchor="start", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {more}>'
            f"{escape(words)}</text>")


def grouped_bars(groups, names, title):
    """`groups` is {group: {name: value}}; a bar for each of `names` that a group has."""
    bar, gap = 16, 22
    width = max(520, LEFT + len(groups) * (len(names) * bar + gap) + 10)
    highest = max((v for values in groups.values() for v in values.values()), default=1) or 1
    step = step_for(highest)
    top = (int(highest / step) + 1) * step
    floor = TOP + HEIGHT

    def y(value):
        return floor - value / top * HEIGHT

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{floor + BOTTOM + 22}" '
           'font-family="sans-serif" fill="#495057">',
           f'<rect width="100%" height="100%" fill="#ffffff"/>',
           text(LEFT, 20, title, 14, more='font-weight="bold"')]
    for line in range(int(top / step) + 1):
        at = y(line * step)
        out.append(f'<line x1="{LEFT}" x2="{width - 10}" y1="{at:.1f}" y2="{at:.1f}" '
                   'stroke="#dee2e6"/>')
        out.append(text(LEFT - 6, at + 4, f"{line * step:g}", 11, "end"))
    x = LEFT + gap / 2
    for group, values in groups.items():
        middle = x + len(names) * bar / 2
        for number, name in enumerate(names):
            if name not in values:
                continue
            value, at = values[name], x + number * bar
            colour = COLOURS[number % len(COLOURS)]
            out.append(f'<rect x="{at:.1f}" y="{y(value):.1f}" width="{bar - 2}" '
                       f'height="{floor - y(value):.1f}" fill="{colour}">'
                       f"<title>{escape(group)}, {escape(name)}: {value:.1f}</title></rect>")
            out.append(text(at + bar / 2 - 1, y(value) - 3, f"{value:.0f}", 9, "middle"))
        out.append(text(middle, floor + 16, group, 12, "middle"))
        x += len(names) * bar + gap
    x = LEFT
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        out.append(f'<rect x="{x}" y="{floor + 30}" width="11" height="11" fill="{colour}"/>')
        out.append(text(x + 15, floor + 40, name))
        x += 30 + 7 * len(name)
    return "\n".join(out) + "\n</svg>\n"

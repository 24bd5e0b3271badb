"""A chart without a library: milliseconds of a token over the tokens before it, ours and llama.cpp's."""

WIDTH, HEIGHT, LEFT, TOP = 640, 250, 60, 40  # of one of the two plots, with its margins
SERIES = (("ours", "ingot", "#0b7285"), ("theirs", "llama.cpp", "#adb5bd"))


def plot(rows, test, title, offset):
    depths = [int(row["label"]) for row in rows]
    times = {key: [1000 / row[test][key][0] for row in rows] for key, _, _ in SERIES}  # ms
    most = max(max(values) for values in times.values()) * 1.1
    x = lambda depth: LEFT + (WIDTH - LEFT - 110) * depth / max(max(depths), 1)
    y = lambda time: offset + HEIGHT - 30 - (HEIGHT - 30 - TOP) * time / most
    parts = [f'<text x="{LEFT}" y="{offset + 20}" font-weight="bold">{title}</text>',
             f'<line x1="{LEFT}" y1="{y(0):.1f}" x2="{x(max(depths)):.1f}" y2="{y(0):.1f}" stroke="#495057"/>']
    for depth in depths:
        parts.append(f'<text x="{x(depth):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">{depth}</text>')
    for share in (0.5, 1):
        parts.append(f'<text x="{LEFT - 6}" y="{y(share * most / 1.1) + 4:.1f}" text-anchor="end">'
                     f'{share * most / 1.1:.3g}</text>')
    for key, name, colour in SERIES:
        points = [(x(depth), y(time)) for depth, time in zip(depths, times[key])]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        parts.append(f'<text x="{points[-1][0] + 8:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{name}</text>')
    return parts


def chart(rows):
    """SVG; `rows` as bench/cpu.py has them, their labels being numbers of tokens."""
    parts = [*plot(rows, "generate", "Decode: ms per token over tokens before", 0),
             *plot(rows, "prompt", "Prefill: ms per token over tokens before", HEIGHT)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * HEIGHT}" '
            'font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n")

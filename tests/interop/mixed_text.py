"""Text that tokenizers disagree about, made deterministically: the same lines for the same seed everywhere."""
import random
import unicodedata

# (first, last) code points of letters and what stands among them, script by script.
SCRIPTS = [
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x586),
    (0x5B0, 0x5EA), (0x610, 0x6D3), (0x700, 0x74A), (0x780, 0x7B1), (0x900, 0x97F), (0x980, 0x9FE), (0xA01, 0xA75),
    (0xA81, 0xAF1), (0xB01, 0xB77), (0xB82, 0xBFA), (0xC00, 0xC7F), (0xC80, 0xCF2), (0xD00, 0xD7F), (0xD82, 0xDF4),
    (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1200, 0x139F), (0x13A0, 0x13F5), (0x1780, 0x17F9), (0x1820, 0x18AA), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE),
    (0x3041, 0x309F), (0x30A0, 0x30FF), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xFB00, 0xFB06), (0xFF01, 0xFFEE),
    (0x10400, 0x1044F), (0x20000, 0x2A6D6), (0x1D400, 0x1D7FF), (0x2C00, 0x2C5E), (0xA640, 0xA69F),
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\x85", "\xa0", "\u1680", "\u180e", "\u2000", "\u2003",
          "\u2009", "\u200a", "\u200b", "\u200c", "\u200d", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff",
          "\n\n", " \n", "\n ", "        ", "\t\t\t"]
MARKS = [chr(c) for c in list(range(0x300, 0x370)) + [0x20D7, 0x20E3, 0x3099, 0x309A, 0x64B, 0x64E, 0x94D, 0xE31, 0x1AB0]]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇺🇳", "🇩🇪🇫🇷", "☃️", "✈", "🏳️‍🌈", "1️⃣", "#️⃣", "❤️‍🔥", "🫠", "→", "∞", "≠", "½", "㊙", "Ⓐ", "🅰", "™", "©"]
CONTRACTIONS = ["I'm", "I'M", "they'LL", "we've", "WE'VE", "it's", "IT'S", "don't", "he'd", "you're", "it’s", "rock'n'roll", "'s", "'ſ",
                "o'clock", "''s", "'tis", "l'été", "d'Artagnan", "K'LL"]
CODE = ["def {w}({w}, {w}=None):\n    return {w}[{n}:{n}] + '{w}'  # {w}", "for (int {w} = 0; {w} < {n}; ++{w}) {{ {w} += {n}; }}",
        "#include <{w}/{w}.h>\n\n\tint main() {{\n\t\treturn {n};\n\t}}", "SELECT {w}, COUNT(*) FROM {w} WHERE {w} >= {n};",
        "<div class=\"{w}-{w}\" id='{w}_{n}'>{w} &amp; {w}</div>", "$ {w} --{w}={n} -x | grep '{w}' > /tmp/{w}.{w} 2>&1",
        "{w}.{w}::{w}<{w}*>(&{w}, {w}->{w}, !{w} ? {n}ULL : 0x{n});", "https://{w}.example/{w}/{n}?{w}={n}&{w}=%20#{w}",
        "{{\"{w}\": [{n}, {n}.5e-{n}, null], \"{w}\": \"\\u00e9\\n\"}}", "\\begin{{{w}}} $\\frac{{{n}}}{{{w}_{n}}}$ \\end{{{w}}}"]


def assigned(character):
    return unicodedata.category(character) not in ("Cn", "Cs", "Co")


class MixedText:
    """line() after line(). `prose`: lines of real text to mix in. `specials`: texts of special tokens."""

    def __init__(self, seed, prose=(), specials=()):
        self.random = random.Random(seed)
        self.prose = [line for line in prose if line.strip()]
        self.specials = list(specials)
        self.words = ["the", "of", "and", "house", "night", "Pierre", "said", "was", "river", "Tokenizer", "value", "x", "data"]
        for line in self.prose[:2000]:
            self.words += line.split()
        self.makers = [self.make_prose] * 6 + [
            self.make_words, self.make_code, self.make_code, self.make_script, self.make_script, self.make_script, self.make_scripts,
            self.make_emoji, self.make_spaces, self.make_numbers, self.make_controls, self.make_long, self.make_any, self.make_cases,
            self.make_marks, self.make_specials]

    def line(self):
        return self.random.choice(self.makers)()

    def word(self):
        return self.random.choice(self.words)

    def number(self):
        return str(self.random.randrange(10 ** self.random.randrange(1, 12)))

    def of_script(self):
        first, last = self.random.choice(SCRIPTS)
        characters = [chr(self.random.randint(first, last)) for _ in range(self.random.randint(1, 9))]
        return "".join(c for c in characters if assigned(c))

    def joined(self, make, low, high, separators=(" ",)):
        return "".join(make() + self.random.choice(separators) for _ in range(self.random.randint(low, high)))

    def make_prose(self):
        if not self.prose:
            return self.make_words()
        line = self.random.choice(self.prose)
        if self.random.random() < 0.3:
            begin = self.random.randrange(len(line))
            return line[begin:begin + self.random.randint(1, 80)]
        return line

    def make_words(self):
        return self.joined(self.word, 1, 20, (" ", " ", " ", ", ", ". ", "  ", "\n", " - ", "-", "/", "_"))

    def make_code(self):
        template = self.random.choice(CODE)
        while "{w}" in template or "{n}" in template:
            template = template.replace("{w}", self.random.choice([self.word(), "fooBar", "my_value", "HTTPServer2"]), 1)
            template = template.replace("{n}", self.number(), 1)
        return template.replace("{{", "{").replace("}}", "}")

    def make_script(self):
        first, last = self.random.choice(SCRIPTS)
        def word():
            characters = [chr(self.random.randint(first, last)) for _ in range(self.random.randint(1, 9))]
            return "".join(c for c in characters if assigned(c))
        return self.joined(word, 1, 12, (" ", " ", " ", ", ", "", "。", "、", "، ", "। ", "—"))

    def make_scripts(self):
        return self.joined(self.of_script, 2, 10, ("", " ", " ", "-"))

    def make_emoji(self):
        return self.joined(lambda: self.random.choice([self.random.choice(EMOJI), self.word()]), 1, 12, ("", "", " "))

    def make_spaces(self):
        return self.joined(lambda: self.random.choice([self.word(), ""]), 1, 12, SPACES)

    def make_numbers(self):
        forms = [self.number, lambda: self.number() + "." + self.number(), lambda: "-" + self.number(), lambda: "٣٤٥" + self.number(),
                 lambda: "Ⅷ½²₃", lambda: self.number() + "%", lambda: "1,234,567.89", lambda: "２０２４年" + self.number() + "月"]
        return self.joined(lambda: self.random.choice(forms)(), 1, 10, (" ", "", "+", "\n"))

    def make_controls(self):
        def piece():
            return self.random.choice([chr(self.random.randrange(32)), chr(self.random.randrange(0x7F, 0xA0)), self.word(), "\x00", "\ufffd",
                                       "\u2066", "\U000e0041", "\ufe0f", "\u00ad"])
        return self.joined(piece, 1, 12, ("", " "))

    def make_long(self):
        unit = self.random.choice(["a", "ab", "Z", "=", "-", "0", "é", "中", "😀", "x_", "!?", ".", "\u0301", "\u2581", "##", "'s"])
        return self.word() + unit * self.random.randint(20, 200) + self.word()

    def make_any(self):
        characters = (chr(self.random.choice([self.random.randrange(0x3000), self.random.randrange(0x20000)])) for _ in range(30))
        return "".join(c for c in characters if assigned(c))

    def make_cases(self):
        return self.joined(lambda: self.random.choice([self.random.choice(CONTRACTIONS), self.word().upper(), self.word().title(), "İI ıi ẞß ΣΑΣ Ǆ"]),
                           1, 10)

    def make_marks(self):
        def letter():
            base = self.random.choice([chr(self.random.randint(*self.random.choice(SCRIPTS))), "a", "e", "o", "か", "ا", "하", "ﬁ", "Å", "각"])
            return (base if assigned(base) else "x") + "".join(self.random.choice(MARKS) for _ in range(self.random.randrange(3)))
        return self.joined(letter, 1, 20, ("", "", "", " "))

    def make_specials(self):
        if not self.specials:
            return self.make_words()
        def piece():
            return self.random.choice([self.random.choice(self.specials), self.word(), " " + self.word(), self.word() + " ", "\n"])
        return self.joined(piece, 1, 8, ("", "", " ", "  "))

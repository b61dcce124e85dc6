"""Answers of many kinds, to be drawn in every way."""

PROSE = """\
# A title

The first paragraph has **bold words**, *others* and `code`, and is long enough to be wrapped on
every terminal that the tests have. It goes on: 2 * 3 * 4 is 24, snake_case_names stay, and an
opening *star that never closes is a star.

The second has [a link](https://example.org/a/rather/long/address?with=a&query=1) in it, an
<https://auto.link/>, an ![image](pic.png) and a reference [to what comes later][1].

Level two
---------

Short line
---
***
Line one  \nline two\\
line three

[1]: https://example.org/defined-at-the-end
""".replace("\\n", "\n")

LISTS = """\
Things to do:
1. First, with a text that is so long that it has to be continued under its own beginning, twice
   if the terminal is narrow.
2. Second:
   - nested *one*
   - nested two
     - deeper

       with a paragraph of its own
   - nested three
3. Third

   ```python
   def inside(a_list):
       return [item for item in a_list]
   ```
10) another list
11) goes on

> A quote, which
goes on lazily
>
> - and has a list
>   > and a quote in it
>
> ```
> and code
> ```

-
- after an empty item
"""

WIDE = """\
# 标题：宽字符

这是一个很长的中文段落，没有任何空格，所以必须在任意两个汉字之间换行，标点符号不能出现在行首。**粗体文字**也一样，
`代码`也一样。日本語のテキストと한국어 텍스트도 있습니다.

Family 👨‍👩‍👧‍👦 and astronaut 👩🏽‍🚀, flags 🇩🇪🇫🇷, a heart ❤️, a thumb 👍🏿,
keycap 1️⃣, e\u0301 and नमस्ते.

| Emoji | Meaning | 数量 |
|:-----:|---------|-----:|
| 👨‍👩‍👧 | family | 1 |
| ❤️ | heart | 22 |
| 汉字 | 宽 | 333 |
| 🇩🇪 | flag | 4 |
"""

TABLES = """\
| Model | Parameters | Note |
|:------|-----------:|------|
| Tülu 3 8B | 8 | small |
| Tülu 3 70B | 70 | a note that is long enough to be wrapped in its column, **bold** and `a \\| b` |
| Tülu 3 405B | 405 |
| a | b | c | d |

a | b
--|--
1 | 2

Not | a table
| nor | this |

> | q | r |
> |---|---|
> | 1 | 2 |
"""

CODE = (
    "Here it is:\n\n```python\n"
    + "".join(
        f'def function_{i}(value: int) -> str:\n    """Line {i}\n    of it."""\n'
        f"    return f'{{value}}' + str({i})  # comment\n\n"
        for i in range(20)
    )
    + "```\n\nAnd C:\n\n~~~c\n/* a comment\n   of two lines */ int main(void) { return 0; }\n~~~\n"
)

NESTED = """\
````markdown
# not a heading
```python
print("inner")
```
````

- item
  ~~~
  ```
  ~~~
  text

```
never closed, with a line that is far too long for the terminal and so is cut at its last cell
\ttabs\there
"""

HTML = """\
<details>
<summary>Sum **of** it</summary>

Inside <b>bold</b> and a<br>break.

</details>
<!-- a comment

of more lines -->
<think>not a block tag</think> &amp; &lt;tag&gt; &copy;

Formulas: \\(a_1 * b_2 * c\\), \\[x_1 = *y*\\] and $$\\sum_i x_i$$ stay.
"""

ENDLESS = "word " * 300 + "\n\n" + "x" * 700 + "\n\n`" + "open " * 150 + "\n\n" + "汉" * 700

ANSWERS = {
    "prose": PROSE,
    "lists": LISTS,
    "wide": WIDE,
    "tables": TABLES,
    "code": CODE,
    "nested": NESTED,
    "html": HTML,
    "endless": ENDLESS,
    "long lines": "\n\n".join(
        (
            "1. " * 40 + "text " * 40,
            "> " * 60 + "text " * 40,
            "# " + "heading " * 40 + "#",
            "| " + "cell | " * 40,
            "- - " * 40,
            "```\n" + "code(); " * 300 + "\n```",
            "    " + "indented " * 40,
            "<div " + "attribute " * 40 + ">\ntext",
            "|a|b|\n|-|-|\n|1|" + "long " * 400 + "|",
        )
    ),
    "empty": "",
    "blank": " \n\n\t\n",
    "no line end": "just text",
    "crlf": "# a\r\n\r\n```py\r\nx = 1\r\n```\r\nlast\r",
}

# What the issue of hostile models is about: each would command a terminal.
HOSTILE = {
    "clipboard": "\x1b]52;c;aGk=\x07",
    "hyperlink": "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\",
    "title": "\x1b]0;pwned\x07",
    "clear": "\x1b[2J\x1b[3J\x1b[H",
    "cursor report": "\x1b[6n",
    "reset": "\x1bc",
    "8-bit CSI": "\x9b2J\x9b6n",
    "8-bit OSC": "\x9d0;title\x9c",
    "unterminated": "\x1b]0;never ended",
    "device control": "\x1bP$qm\x1b\\",
    "application": "\x1b_Gpayload\x1b\\",
    "bidi": "\u202eevil\u202c \u2066x\u2069",
    "backspaces": "safe\x08\x08\x08\x08evil\x7f",
    "carriage return": "rm -rf\rls    ",
    "references": "&#27;]0;x&#7; &#x9b;2J &#x202e; &#13; &#10;",
    "address": "[x](http://a/%1b]52;c;aGk=%07%9b2J%0a) <http://a/%1b%5b2J>",
    "code": "```\x1b[31mpy\n\x1b[2J\x9b\n```",
    "table": "| \x1b[2J | \x9b |\n|---|---|\n| \x07 | &#27; |\n",
    "html": "<div \x1b[2J>\n\x9bm\n</div>",
    "separators": "a\u2028b\u2029c\x0bd\x0ce\x85f",
}

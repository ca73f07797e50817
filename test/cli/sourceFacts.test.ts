import { assert, describe, it } from "@effect/vitest"
import { sourceFacts } from "../../src/cli/tools/sourceFacts.ts"

const script = [
  "import * as A from \"effect/A\"",
  "import type { B } from './b.ts'",
  "// import C from \"./comment.ts\"",
  "",
  "/* TODO: write",
  "   more */",
  "export const text = `a ${(() => { return \"}\" })()} // no comment`",
  "export const pattern = /[/*]\"/g",
  "export default function main(a: number) {",
  "  // FIXME later",
  "  if (a > 1) { return \"TODO in a string\" }",
  "  return a",
  "}",
  "const arrow = (x: number): number =>",
  "  x +",
  "  1",
  "class Cat {",
  "  speak(loud: boolean): string {",
  "    return call(loud)",
  "  }",
  "}",
  "const lazy = import(\"./lazy.ts\")",
  "export { arrow as bow, type Cat }",
  "export * as all from \"./all.ts\"",
  ""
].join("\n")

describe("sourceFacts", () => {
  const facts = sourceFacts("a.ts", script)

  it("tells code, comments and blank lines apart", () => {
    const { blankLines, codeLines, commentLines, lines } = facts
    assert.deepStrictEqual({ lines, codeLines, commentLines, blankLines }, {
      lines: 24,
      codeLines: 19,
      commentLines: 4,
      blankLines: 1
    })
  })

  it("reads imports from code only", () => {
    assert.deepStrictEqual(facts.imports, ["effect/A", "./b.ts", "./lazy.ts", "./all.ts"])
  })

  it("reads the names a module exports", () => {
    assert.deepStrictEqual([...facts.exports].sort(), ["Cat", "all", "bow", "default", "main", "pattern", "text"])
  })

  it("finds functions, arrows and methods with their lengths, and no calls", () => {
    assert.deepStrictEqual(facts.functions, [
      { name: "main", line: 9, lines: 5 },
      { name: "arrow", line: 14, lines: 3 },
      { name: "speak", line: 18, lines: 3 }
    ])
  })

  it("finds TODOs in comments and not in strings", () => {
    assert.deepStrictEqual(facts.todos, [{ line: 5, text: "TODO: write" }, { line: 10, text: "FIXME later" }])
  })

  it("reads Python by its indentation", () => {
    const python =
      "import os, sys as s\nfrom a.b import c\n\ndef f(x):\n    # TODO x\n    def g():\n        return '''\ndef no(): pass\n'''\n    return g\n\nasync def h():\n    pass\n"
    const facts = sourceFacts("a.py", python)
    assert.deepStrictEqual(facts.imports, ["os", "sys", "a.b"])
    assert.deepStrictEqual(facts.functions.map(({ line, lines, name }) => `${name} ${line} ${lines}`), [
      "f 4 7",
      "g 6 4",
      "h 12 2"
    ])
    assert.deepStrictEqual(facts.todos, [{ line: 5, text: "TODO x" }])
  })

  it("counts the lines of what it does not know", () => {
    const { codeLines, functions, lines } = sourceFacts("a.yaml", "a: 1\n\n# TODO b\nb: 2\n")
    assert.deepStrictEqual({ lines, codeLines, functions }, { lines: 4, codeLines: 3, functions: [] })
  })

  it("survives unfinished and hostile text in linear time", () => {
    for (
      const source of [
        "",
        "\n",
        "`${`${`",
        "/*",
        "\"",
        "'\\",
        "}}}",
        "((((",
        "const a = (",
        "class {",
        "import",
        "\u0000",
        "/".repeat(2000)
      ]
    ) {
      assert.isAtLeast(sourceFacts("a.ts", source).lines, 0)
      assert.isAtLeast(sourceFacts("a.py", source).lines, 0)
    }
    for (
      const unit of [
        "`${",
        "(",
        "{",
        "const a = (",
        "a(",
        "/*",
        "\"",
        "function f(",
        "import \"",
        "export {",
        "=>",
        "  a(b) "
      ]
    ) {
      sourceFacts("a.ts", unit.repeat(20_000))
    }
  })
})

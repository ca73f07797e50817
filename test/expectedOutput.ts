/**
 * What an example says it prints. The header comment of a file in `examples/` ends with a block
 *
 *     Expected output:
 *       found 3 files in … ms
 *       …
 *
 * where `…` stands for any text on its line, and alone on a line for any number of lines.
 */

/** The lines under `Expected output:` in the first comment of a source; `undefined` where there are none. */
export const expectedOutput = (source: string): ReadonlyArray<string> | undefined => {
  const header = /^(?:#!.*\n)?\/\*\*([\s\S]*?)\*\//.exec(source)?.[1]
  const lines = header?.split("\n").map((line) => line.replace(/^\s*\* ?/, "").trimEnd()) ?? []
  const start = lines.findIndex((line) => /^\s*(\*\*)?Expected output:?(\*\*)?:?\s*$/.test(line))
  if (start < 0) return undefined
  const block = trimBlank(lines.slice(start + 1).filter((line) => !/^\s*```/.test(line)))
  const indent = Math.min(...block.filter((line) => line !== "").map((line) => line.search(/\S/)))
  return block.length === 0 ? undefined : block.map((line) => line.slice(indent))
}

const trimBlank = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const blank = (line: string): boolean => line.trim() === ""
  const first = lines.findIndex((line) => !blank(line))
  return first < 0 ? [] : lines.slice(first, lines.findLastIndex((line) => !blank(line)) + 1)
}

const escape = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** Whether a program's standard output is what was expected. Blanks at line ends do not count. */
export const matches = (expected: ReadonlyArray<string>, output: string): boolean => {
  const pattern = expected.map((line) =>
    line.trim() === "…" ? "(?:[^\\n]*\\n)*?" : `${line.trimEnd().split("…").map(escape).join("[^\\n]*?")}[ \\t]*\\n`
  ).join("")
  return new RegExp(`^${pattern}$`).test(`${output.replaceAll("\r\n", "\n").trimEnd()}\n`)
}

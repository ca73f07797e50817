/**
 * Examples in docstrings and documents as tests: finds every fenced `ts` block, and turns a trailing `// => literal` into an
 * assertion on the statement before it. ```` ```ts no-run ```` is type-checked only.
 */
import { assert } from "@effect/vitest"
import { parseSync, Visitor } from "oxc-parser"

/** A block, with the line of the file its first line stands on. */
export interface Block {
  readonly file: string
  readonly line: number
  readonly source: string
  readonly run: boolean
}

const fence = /^(\s*(?:\*\s?)?)```(\S*)([^`]*)$/

/** The `ts` blocks of a file; in TypeScript those inside `/** ... *\/` comments. */
export const blocksOf = (file: string, text: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  const document = file.endsWith(".md")
  let open: { line: number; prefix: number; language: string; info: string; lines: Array<string> } | undefined
  for (const [index, line] of text.split("\n").entries()) {
    const found = fence.exec(line)
    const starred = /^\s*\*/.test(line)
    if (open === undefined) {
      if (found !== null && (document || starred)) {
        open = { line: index + 2, prefix: found[1]!.length, language: found[2]!, info: found[3]!.trim(), lines: [] }
      }
    } else if (found !== null && found[2] === "") {
      if (open.language === "ts") {
        blocks.push({ file, line: open.line, source: open.lines.join("\n"), run: open.info !== "no-run" })
      }
      open = undefined
    } else open.lines.push(line.slice(open.prefix))
  }
  return blocks
}

interface Span {
  readonly start: number
  readonly end: number
}

/**
 * The block as a module that asserts. An assertion comment with no statement before it on its line is a fault, because it
 * would never be checked.
 */
export const moduleOf = (block: Block, equalFrom: string): string => {
  const { source } = block
  const { comments, errors, program } = parseSync("block.ts", source)
  if (errors.length > 0) throw new Error(`${block.file}:${block.line}: ${errors[0]?.message}`)
  const expressions: Array<Span & { readonly expression: Span }> = []
  const declarations: Array<Span & { readonly name: string }> = []
  new Visitor({
    ExpressionStatement: (node) => void expressions.push(node),
    VariableDeclaration: (node) => {
      const [only] = node.declarations
      if (node.declarations.length === 1 && only?.id.type === "Identifier") {
        declarations.push({ start: node.start, end: node.end, name: only.id.name })
      }
    }
  }).visit(program)
  const edits: Array<Span & { readonly text: string }> = []
  for (const comment of comments) {
    const expected = /^\s*=>\s*(.+)$/.exec(comment.value)?.[1]
    if (expected === undefined) continue
    const line = block.line + source.slice(0, comment.start).split("\n").length - 1
    const where = JSON.stringify(`${block.file}:${line}`)
    const behind = (span: Span): boolean =>
      /^[ \t;]*$/.test(source.slice(span.end, comment.start)) && span.end <= comment.start
    const expression = expressions.find(behind)
    const declaration = declarations.find(behind)
    if (expression !== undefined) {
      const { end, start } = expression.expression
      edits.push({ start, end, text: `__equal(${where}, ${source.slice(start, end)}, (${expected}))` })
    } else if (declaration !== undefined) {
      edits.push({
        start: comment.start,
        end: comment.end,
        text: `\n__equal(${where}, ${declaration.name}, (${expected}))`
      })
    } else throw new Error(`${where}: "// =>" stands behind no statement, so nothing would check it`)
  }
  const asserted = edits.sort((a, b) => b.start - a.start)
    .reduce((text, edit) => text.slice(0, edit.start) + edit.text + text.slice(edit.end), source)
  return `import { equal as __equal } from ${JSON.stringify(equalFrom)}\n${asserted}\nvoid __equal\nexport {}\n`
}

/** What `// =>` becomes. */
export const equal = (where: string, actual: unknown, expected: unknown): void => {
  assert.deepStrictEqual(actual, expected, where)
}

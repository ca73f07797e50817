import { afterAll, assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { type Block, blocksOf, moduleOf } from "./doctest.ts"

const root = resolve(import.meta.dirname, "..")
// Inside the repository, so that packages resolve; not inside node_modules, which may be shared.
// One folder a process: two runs in one clone must not share it.
const out = join(root, ".cache", `docs-${process.pid}`)

const files = [
  ...readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).map((name) => join("src", name)),
  ...(existsSync(join(root, "docs")) ? readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" }) : [])
    .map((name) => join("docs", name)),
  "README.md"
].filter((name) => /\.(ts|md)$/.test(name) && existsSync(join(root, name)))

const blocks = files.flatMap((name) => blocksOf(name, readFileSync(join(root, name), "utf8")))
const runnable = blocks.filter((block) => block.run)
const hasTests = (block: Block): boolean => /from "(?:@effect\/)?vitest"/.test(block.source)
const nameOf = (block: Block): string => `${block.file}:${block.line}`
const fileOf = (block: Block): string => join(out, `${block.file.replaceAll(/[^\w.]/g, "-")}-L${block.line}.ts`)

const compilerOptions = {
  noUnusedLocals: false,
  noUnusedParameters: false,
  allowUnusedLabels: true,
  paths: {
    "effect-toolformer": ["../../src/index.ts"],
    "effect-toolformer/Testing": ["../../src/testing/index.ts"],
    "effect-toolformer/Vitest": ["../../src/testing/Vitest.ts"],
    "effect-toolformer/LimiterStoreRedis": ["../../src/policy/LimiterStoreRedis.ts"],
    "effect-toolformer/*": ["../../src/adapter/*.ts"]
  },
  plugins: []
}

mkdirSync(out, { recursive: true })
for (const block of blocks) writeFileSync(fileOf(block), moduleOf(block, "../../test/doctest.ts"))
writeFileSync(
  join(out, "tsconfig.json"),
  JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: ["*.ts"], exclude: [] })
)

describe("docs", () => {
  afterAll(() => rmSync(out, { recursive: true, force: true }))

  it("have examples that type-check", () => {
    const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
    const { output, status } = spawnSync(process.execPath, [tsc, "-p", out, "--pretty", "false"], {
      encoding: "utf8",
      cwd: out
    })
    assert.strictEqual(status, 0, output.join(""))
  })

  it.each(runnable.filter((block) => !hasTests(block)).map((block) => [nameOf(block), block] as const))(
    "have an example at %s that does what it says",
    async (_, block) => {
      await import(fileOf(block))
    }
  )

  // A block that is a test file of its own registers its tests here.
  describe.each(runnable.filter(hasTests).map((block) => [nameOf(block), block] as const))(
    "have tests at %s",
    async (_, block) => {
      await import(fileOf(block))
    }
  )
})

describe("doctest", () => {
  const block = (source: string): Block => ({ file: "a.ts", line: 10, source, run: true })
  const body = (source: string): string => moduleOf(block(source), "x").split("\n").slice(1, -3).join("\n")

  it("finds blocks of docstrings and documents, with their lines", () => {
    const docstring =
      "/**\n * ```ts\n * const a = 1\n *   a // => 1\n * ```\n * ```sh\n * ls\n * ```\n */\nconst s = \"\\n```ts\"\n"
    assert.deepStrictEqual(blocksOf("a.ts", docstring), [
      { file: "a.ts", line: 3, source: "const a = 1\n  a // => 1", run: true }
    ])
    assert.deepStrictEqual(blocksOf("b.md", "x\n```ts no-run\n1\n```\n~~~\n```\nts\n```\n"), [
      { file: "b.md", line: 3, source: "1", run: false }
    ])
  })

  it("asserts on expressions, declarations, awaits, and statements inside functions", () => {
    assert.strictEqual(body("f(1) // => { a: 1 }"), "__equal(\"a.ts:10\", f(1), ({ a: 1 })) // => { a: 1 }")
    assert.strictEqual(body("\nawait f() // => 2"), "\n__equal(\"a.ts:11\", await f(), (2)) // => 2")
    assert.strictEqual(body("const a = f() // => 2"), "const a = f() \n__equal(\"a.ts:10\", a, (2))")
    assert.match(body("function* g() {\n  yield* f() // => 2\n}"), /__equal\("a\.ts:11", yield\* f\(\), \(2\)\)/)
    assert.match(body("f(\n  1\n) // => 2"), /__equal\("a\.ts:12", f\(\n {2}1\n\), \(2\)\)/)
  })

  it("refuses an assertion that nothing would check, and a block it cannot read", () => {
    assert.throws(() => body("// => 1"), /stands behind no statement/)
    assert.throws(() => body("f({\n  a: 1 // => 1\n})"), /stands behind no statement/)
    assert.throws(() => body("const {"), /a\.ts:10/)
  })
})

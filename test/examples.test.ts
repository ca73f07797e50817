import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { expectedOutput, matches } from "./expectedOutput.ts"
import { isInstalled } from "./redis/process.ts"

const root = resolve(import.meta.dirname, "..")
const folder = join(root, "examples")
const examples = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".ts")).sort() : []

// No key and no server of the machine's user: an example shows what it shows on any machine.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    !/^(OPENAI|ANTHROPIC|AZURE|OLLAMA|TOOLFORMER|VITEST|NODE_OPTIONS)/.test(name)
  )
)

const run = (path: string): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> =>
  new Promise((done) => {
    const child = execFile(
      process.execPath,
      [path],
      { cwd: root, env: { ...environment, NO_COLOR: "1" }, timeout: 90_000 },
      (error, stdout, stderr) => done({ code: error === null ? 0 : child.exitCode ?? 1, stdout, stderr })
    )
    child.stdin?.end()
  })

const hasRedis = isInstalled("redis-server")
const needsRedis = (name: string): boolean => name.endsWith("-redis.ts")
const isRequired = process.env["TOOLFORMER_REQUIRE_REDIS"] === "1"
const runnable = examples.filter((name) => hasRedis || isRequired || !needsRedis(name))

describe("examples", () => {
  it.runIf(process.env["CI"] !== undefined)("exist", () => {
    assert.isAbove(examples.length, 0)
  })

  it.skip.each(examples.filter((name) => !runnable.includes(name)))(
    "%s needs redis-server: apt-get install redis-server",
    () => undefined
  )

  it.each(runnable)("%s prints the output its header states", { timeout: 120_000 }, async (name) => {
    const expected = expectedOutput(readFileSync(join(folder, name), "utf8"))
    if (expected === undefined) return assert.fail("the header comment has no block \"Expected output:\"")
    const { code, stderr, stdout } = await run(join(folder, name))
    assert.strictEqual(code, 0, stderr)
    assert.isTrue(matches(expected, stdout), `expected:\n${expected.join("\n")}\n\nprinted:\n${stdout}\n${stderr}`)
  })
})

describe("expectedOutput", () => {
  it("is the block under its heading in the first comment", () => {
    const source = `/**
 * One tool.
 *
 * Run: npx node examples/01-one-tool.ts
 *
 * Expected output:
 *   a
 *     b {1}
 *
 *   c … ms
 */
const x = 1
/** Expected output: no */
`
    assert.deepStrictEqual(expectedOutput(source), ["a", "  b {1}", "", "c … ms"])
    assert.isUndefined(expectedOutput("/** nothing */"))
    assert.isUndefined(expectedOutput("const x = 1\n/**\n * Expected output:\n *   a\n */"))
    assert.isUndefined(expectedOutput("/**\n * Expected output:\n */"))
  })

  it("matches line by line, with wildcards inside lines and for lines", () => {
    assert.isTrue(matches(["a", "b … ms (x)"], "a\nb 12 ms (x)\n"))
    assert.isTrue(matches(["a", "…", "d"], "a\nb\nc\nd"))
    assert.isTrue(matches(["a", "…"], "a\n"))
    assert.isTrue(matches(["", "a"], "\na  \n"))
    assert.isFalse(matches(["a … ms"], "a 1\nb ms"))
    assert.isFalse(matches(["a"], "a\nb"))
    assert.isFalse(matches(["a", "b"], "a"))
    assert.isFalse(matches(["a.c"], "abc"))
  })
})

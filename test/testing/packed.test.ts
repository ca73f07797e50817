/** The guide's programs as a stranger runs them: typed into an empty project, against the packed package. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { blocksOf } from "../doctest.ts"
import { emptyFolder, install, pack } from "../installed.ts"

const root = resolve(import.meta.dirname, "..", "..")
const text = readFileSync(join(root, "docs", "guides", "testing.md"), "utf8")
const guide = blocksOf("testing.md", text)

// The first block that holds the text.
const program = (part: string): string => {
  const found = guide.find(({ source }) => source.includes(part))
  if (found === undefined) return assert.fail(`the guide has no block with ${part}`)
  return found.source
}

const quickExample = program("@effect/vitest")
const withMatchers = program("expect.extend(")
const script = program("Effect.runPromise(")

// What the guide says is printed when an expectation fails.
const printed = [...text.matchAll(/^```text\n([^`]*)^```/gm)].flatMap(([, lines = ""]) => lines.trimEnd().split("\n"))

// The same program, expecting another city than the model asks for.
const wrong = (source: string): string => {
  const at = source.indexOf("expectToolCalls(")
  const changed = source.slice(0, at) + source.slice(at).replace("\"Paris\"", "\"Rome\"")
  assert.notStrictEqual(changed, source)
  return changed
}

const folder = emptyFolder("packed")
const beside = ["effect", "vitest", "@effect/vitest", "@types/node"]
let tarball = ""

interface Outcome {
  readonly status: number | null
  readonly output: string
}

// Nothing of this vitest may reach the user's.
const environment = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_OPTIONS|TEST$|CI$)/.test(name))),
  NO_COLOR: "1"
}

const node = (home: string, ...args: ReadonlyArray<string>): Outcome => {
  const { status, stderr, stdout } = spawnSync(process.execPath, args, {
    cwd: home,
    encoding: "utf8",
    env: environment,
    timeout: 100_000
  })
  return { status, output: stdout + stderr }
}

const project = (name: string, files: Record<string, string>, packages: ReadonlyArray<string> = beside): string => {
  const home = join(folder, name)
  mkdirSync(home)
  install(tarball, home, packages)
  writeFileSync(join(home, "package.json"), JSON.stringify({ type: "module" }))
  for (const [path, source] of Object.entries(files)) writeFileSync(join(home, path), source)
  return home
}

const vitest = (home: string): Outcome => node(home, join("node_modules", "vitest", "vitest.mjs"), "run")

const compilerOptions = {
  module: "nodenext",
  target: "es2023",
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  noEmit: true,
  preserveSymlinks: false,
  types: ["node"]
}

describe("the testing guide, against the packed package", { timeout: 120_000 }, () => {
  beforeAll(() => {
    tarball = pack(folder)
  }, 120_000)

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("has a quick example that passes in an empty project, types included", () => {
    const home = project("quick", {
      "quick.test.ts": quickExample,
      "matchers.test.ts": withMatchers,
      "tsconfig.json": JSON.stringify({ compilerOptions, include: ["*.ts"] })
    })
    const { output, status } = vitest(home)
    assert.strictEqual(status, 0, output)
    assert.match(output, /Test Files\s+2 passed/)
    const types = node(home, join(root, "node_modules", "typescript", "bin", "tsc"), "-p", ".", "--pretty", "false")
    assert.strictEqual(types.status, 0, types.output)
  })

  it("has a quick example that fails as the guide shows when a call is not the one expected", () => {
    const { output, status } = vitest(project("wrong", { "quick.test.ts": wrong(quickExample) }))
    assert.strictEqual(status, 1, output)
    assert.match(output, /1 failed/)
    assert.isAbove(printed.length, 8)
    for (const line of printed) assert.include(output, line)
  })

  it("has a script that needs nothing but effect", () => {
    const right = node(project("script", { "main.ts": script }, ["effect"]), "main.ts")
    assert.strictEqual(right.status, 0, right.output)
    const broken = node(project("broken", { "main.ts": wrong(script) }, ["effect"]), "main.ts")
    assert.strictEqual(broken.status, 1, broken.output)
    for (const part of ["{\"city\":\"Rome\"}", "What happened:", "call-2 weather {\"city\":\"Paris\"}"]) {
      assert.include(broken.output, part)
    }
  })
})

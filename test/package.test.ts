import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { existsSync, rmSync } from "node:fs"
import { builtinModules } from "node:module"
import { join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { optionalPeers } from "./architecture.ts"
import { dependencies, emptyFolder, install, pack } from "./installed.ts"

const root = resolve(import.meta.dirname, "..")

// A user's folder: our package as it is published, `effect`, and our own dependencies; no optional peer.
const home = emptyFolder("package")
const installed = join(home, "node_modules", "effect-toolformer")

interface Load {
  readonly url: string
  readonly parent: string | undefined
}

// Imports one module in a fresh process and lists every module that was resolved on the way, with its importer.
const loads = (specifier: string): ReadonlyArray<Load> => {
  const program = `
    import { registerHooks } from "node:module"
    const loads = []
    registerHooks({
      resolve(specifier, context, next) {
        const found = next(specifier, context)
        loads.push({ url: found.url, parent: context.parentURL })
        return found
      }
    })
    await import(${JSON.stringify(specifier)})
    process.stdout.write(JSON.stringify(loads))
  `
  const { status, stderr, stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: home,
    encoding: "utf8"
  })
  assert.strictEqual(status, 0, stderr)
  return JSON.parse(stdout)
}

const isBuiltin = ({ url }: Load): boolean => url.startsWith("node:") || builtinModules.includes(url)

// Entry points that run wherever Effect does.
const portable = ["effect-toolformer", "effect-toolformer/Testing", "effect-toolformer/Vitest"]

// The innermost package of a path.
const packageOf = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*\/node_modules\/)/

const ours = pathToFileURL(installed).href

describe("the package", () => {
  beforeAll(() => void install(pack(home), home, ["effect"]))

  afterAll(() => rmSync(home, { recursive: true, force: true }))

  it("is imported where only effect is installed beside it", () => {
    const found = loads("effect-toolformer")
    assert.isTrue(found.some(({ url }) => url === `${ours}/dist/index.js`), "the entry point was not seen")
    assert.isTrue(found.some(({ parent, url }) => parent?.startsWith(ours) === true && url.includes("/effect/")))
  })

  it.each(portable)("loads no optional peer for %s, and nothing but its dependencies", (entry) => {
    const own = loads(entry).filter(({ parent }) => parent?.startsWith(ours) === true)
    const packages = new Set(own.flatMap(({ url }) => packageOf.exec(url)?.[1] ?? []))
    for (const name of packages) {
      assert.isTrue(name === "effect-toolformer" || name === "effect" || dependencies.includes(name), name)
      assert.isFalse(optionalPeers.some(([peer]) => name.startsWith(peer)), name)
    }
  })

  it.each(portable)("imports no module of Node for %s, so it runs in workers and on the edge", (entry) => {
    const found = loads(entry)
    const own = found.filter((load) =>
      load.parent?.startsWith(ours) === true || load.parent?.includes("@cfworker") === true
    )
    assert.isAbove(own.length, entry.endsWith("Vitest") ? 0 : 5)
    assert.deepStrictEqual(own.filter(isBuiltin), [])
    assert.deepStrictEqual(found.filter(({ url }) => /platform-node|vitest/.test(url)), [])
  })

  it("loads the testing kit only where it is asked for", () => {
    const kit = (entry: string) => loads(entry).filter(({ url }) => url.startsWith(`${ours}/dist/testing/`))
    assert.deepStrictEqual(kit("effect-toolformer"), [])
    assert.isAbove(kit("effect-toolformer/Testing").length, 3)
  })

  it.each(portable)("loads no adapter and no command for %s", (entry) => {
    assert.deepStrictEqual(loads(entry).filter(({ url }) => /\/dist\/(adapter|cli)\//.test(url)), [])
  })

  it("would be caught if it did", () => {
    const found = loads(pathToFileURL(join(root, "node_modules", "openai", "index.mjs")).href)
    assert.isTrue(found.some(({ url }) => url.includes("/node_modules/openai/")))
    assert.isTrue(loads("node:fs").some(isBuiltin))
  })

  it.runIf(existsSync(join(root, "src", "cli", "main.ts")))("has a command that starts", () => {
    const { status, stderr, stdout } = spawnSync(process.execPath, [
      join(installed, "dist", "cli", "main.js"),
      "--help"
    ], {
      cwd: home,
      encoding: "utf8"
    })
    assert.strictEqual(status, 0, stderr)
    assert.include(stdout, "toolformer")
  })
})

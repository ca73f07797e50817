import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs"
import { builtinModules } from "node:module"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { optionalPeers } from "./architecture.ts"

const root = resolve(import.meta.dirname, "..")
const manifest: { readonly dependencies: Record<string, string> } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
)

// A user's folder: our package as it is published, `effect`, and our own dependencies; no optional peer.
const home = realpathSync(mkdtempSync(join(tmpdir(), "effect-toolformer-package-")))
const installed = join(home, "node_modules", "effect-toolformer")

const link = (name: string): void => {
  const target = join(home, "node_modules", name)
  mkdirSync(resolve(target, ".."), { recursive: true })
  symlinkSync(realpathSync(join(root, "node_modules", name)), target, "dir")
}

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

const ours = pathToFileURL(installed).href

describe("the package", () => {
  beforeAll(() => {
    const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
    const args = [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", join(installed, "dist")]
    const { status, stdout } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" })
    assert.strictEqual(status, 0, stdout)
    cpSync(join(root, "package.json"), join(installed, "package.json"))
    for (const name of ["effect", ...Object.keys(manifest.dependencies)]) link(name)
  })

  afterAll(() => rmSync(home, { recursive: true, force: true }))

  it("is imported where only effect is installed beside it", () => {
    const found = loads("effect-toolformer")
    assert.isTrue(found.some(({ url }) => url === `${ours}/dist/index.js`), "the entry point was not seen")
    assert.isTrue(found.some(({ parent, url }) => parent?.startsWith(ours) === true && url.includes("/effect/")))
  })

  it("loads no optional peer, and nothing but its dependencies", () => {
    const packages = new Set(
      loads("effect-toolformer").filter(({ parent }) => parent?.startsWith(ours) === true).flatMap(({ url }) =>
        /\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*\/node_modules\/)/.exec(url)?.[1] ?? []
      )
    )
    for (const name of packages) {
      assert.isTrue(name === "effect-toolformer" || name === "effect" || name in manifest.dependencies, name)
      assert.isFalse(optionalPeers.some(([peer]) => name.startsWith(peer)), name)
    }
  })

  it("imports no module of Node from floors 1 to 3, so it runs in workers and on the edge", () => {
    const found = loads("effect-toolformer")
    const own = found.filter((load) =>
      load.parent?.startsWith(ours) === true || load.parent?.includes("@cfworker") === true
    )
    assert.isAbove(own.length, 5)
    assert.deepStrictEqual(own.filter(isBuiltin), [])
    assert.deepStrictEqual(found.filter(({ url }) => url.includes("platform-node")), [])
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

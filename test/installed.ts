/**
 * The package as a user gets it: built, packed by npm, and unpacked into the `node_modules` of an empty folder. No network: what a
 * user installs beside it is linked from ours.
 */
import { spawnSync } from "node:child_process"
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")

const run = (cwd: string, program: string, ...args: ReadonlyArray<string>): void => {
  const { error, status, stderr, stdout } = spawnSync(program, args, { cwd, encoding: "utf8" })
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${error?.message ?? `${stdout}${stderr}`}`)
}

/** What npm installs with the package. */
export const dependencies: ReadonlyArray<string> = Object.keys(
  JSON.parse(readFileSync(join(root, "package.json"), "utf8")).dependencies
)

/** An empty folder for a user's project. */
export const emptyFolder = (name: string): string =>
  realpathSync(mkdtempSync(join(tmpdir(), `effect-toolformer-${name}-`)))

/** Packs the package into `folder` and gives the path of the tarball. Only the scripts are left out, which would build it twice. */
export const pack = (folder: string): string => {
  const stage = join(folder, "stage")
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  run(root, process.execPath, tsc, "-p", "tsconfig.build.json", "--outDir", join(stage, "dist"))
  for (const name of ["src", "README.md", "LICENSE", "CHANGELOG.md"]) {
    cpSync(join(root, name), join(stage, name), { recursive: true })
  }
  const { scripts: _, ...manifest } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  writeFileSync(join(stage, "package.json"), JSON.stringify(manifest, null, 2))
  run(stage, "npm", "pack", "--offline", "--ignore-scripts", "--silent", "--pack-destination", folder)
  rmSync(stage, { recursive: true })
  const [tarball] = readdirSync(folder).filter((name) => name.endsWith(".tgz"))
  if (tarball === undefined) throw new Error("npm pack made no tarball")
  return join(folder, tarball)
}

/** Unpacks the tarball into the project `home`, with its dependencies and the packages of `beside`. Gives where it lies. */
export const install = (tarball: string, home: string, beside: ReadonlyArray<string>): string => {
  const place = join(home, "node_modules", "effect-toolformer")
  mkdirSync(place, { recursive: true })
  run(home, "tar", "-xzf", tarball, "-C", place, "--strip-components=1")
  for (const name of [...dependencies, ...beside]) {
    const target = join(home, "node_modules", name)
    mkdirSync(resolve(target, ".."), { recursive: true })
    symlinkSync(realpathSync(join(root, "node_modules", name)), target, "dir")
  }
  return place
}

/**
 * `npm run lock`: brings package-lock.json up to date. A registry mirror that does not serve every platform's binary package
 * makes npm leave those packages out of the lock, and `npm ci` then refuses it on every machine. Their names and versions
 * stand in the packages that want them, and their platforms in their names; so they are written in from there.
 */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"

interface Entry {
  readonly version?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly optionalDependencies?: Record<string, string>
}

const path = resolve(import.meta.dirname, "..", "package-lock.json")

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"]
const processors = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"]

// `@oxlint/binding-linux-arm64-musl` is for linux, arm64, musl.
const platform = (name: string): { os: Array<string>; cpu: Array<string>; libc?: Array<string> } | undefined => {
  const words = name.split(/[^a-z0-9]+/)
  const os = systems.find((each) => words.includes(each))
  const cpu = processors.find((each) => words.includes(each))
  if (os === undefined || cpu === undefined) return undefined
  const libc = words.some((word) => word.startsWith("musl"))
    ? "musl"
    : words.some((word) => /^(gnu|glibc)/.test(word)) && "glibc"
  return { os: [os], cpu: [cpu], ...(os === "linux" && libc ? { libc: [libc] } : {}) }
}

const npm = spawnSync("npm", ["install", "--package-lock-only", "--ignore-scripts"], { stdio: "inherit" })
if (npm.status !== 0) process.exit(npm.status ?? 1)

const lock: { packages: Record<string, Entry> } = JSON.parse(readFileSync(path, "utf8"))
const added: Array<string> = []
for (const [at, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const known = [`${at}/node_modules/${name}`, `node_modules/${name}`].some((place) => place in lock.packages)
    const needs = platform(name)
    if (known || needs === undefined || !/^\d+\.\d+\.\d+[\w.-]*$/.test(version)) continue
    const { cpu, libc, os } = needs
    const dev = entry.dev === true ? { dev: true } : {}
    lock.packages[`node_modules/${name}`] = Object.assign(
      { version, cpu },
      dev,
      libc === undefined ? {} : { libc },
      { optional: true, os }
    )
    added.push(`${name}@${version}`)
  }
}
const order = Object.keys(lock.packages).sort((a, b) => a.localeCompare(b, "en"))
lock.packages = Object.fromEntries(order.map((key) => [key, lock.packages[key]!]))
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
console.log(
  `package-lock.json: ${order.length} entries, ${added.length} written in for platforms the registry did not serve`
)

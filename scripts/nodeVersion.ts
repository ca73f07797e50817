/**
 * The oldest Node the library runs on, checked where a script starts. npm scripts run on the Node that the `node` package
 * brings; with `ignore-scripts` that package has no binary and the host's Node is used without a word.
 */
const oldest = [22, 19] as const

/** One sentence when `version` (such as `v20.1.0`) is too old, else `undefined`. */
const problem = (version: string): string | undefined => {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number)
  if (major > oldest[0] || (major === oldest[0] && minor >= oldest[1])) return undefined
  return `effect-toolformer needs Node ${oldest.join(".")} or newer, and this is ${version}. `
    + "Run `npm ci` without --ignore-scripts (it installs Node 24 for the scripts), then `npm run` or `npx node`."
}

/** Ends the process with the sentence and exit code 1. */
export const require = (): void => {
  const text = problem(process.version)
  if (text === undefined) return
  console.error(text)
  process.exit(1)
}

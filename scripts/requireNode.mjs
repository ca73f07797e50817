/**
 * Ends the process with one sentence where its Node is too old. npm scripts run on the Node that the `node` package brings; with
 * `ignore-scripts` that package has no binary, and the host's Node is used without a word. Plain JavaScript, preloaded with
 * `--import`, because an old Node cannot even read the TypeScript behind it.
 */
const oldest = [22, 19]
const [major, minor] = process.versions.node.split(".").map(Number)

if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
  console.error(
    `effect-toolformer needs Node ${oldest.join(".")} or newer, and this is ${process.versions.node}. `
      + "Run `npm ci` without --ignore-scripts: it brings Node 24 for the npm scripts. Outside them use `npx node`."
  )
  process.exit(1)
}

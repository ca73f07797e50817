/** Starts a server in a folder, prints both, and waits to be killed without any chance to clean up. */
import { folder, start } from "../process.ts"

const { path } = folder()
const { process: server } = start("redis-server", ["--port", "0", "--unixsocket", `${path}/socket`, "--dir", path])
process.stdout.write(`${server.pid} ${path}\n`)
setInterval(() => {}, 1000)

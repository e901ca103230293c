/** One agent of the cluster in a process of its own: `<root> <node's name> <gateway's URL>`. Prints its address. */
import { agentIn } from "./cluster.ts";

const [root = "", name = "", url = ""] = process.argv.slice(2);
const agent = await agentIn(root, name, url);
process.on("SIGTERM", () => {
  void agent.close(AbortSignal.timeout(2_000)).finally(() => process.exit(0));
});
process.stdout.write(`${agent.address}\n`);

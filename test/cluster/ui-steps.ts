/** The walk, in order: each step says what a person does and what the page must show then. */
import assert from "node:assert/strict";
import { patienceMs } from "../support/browser.ts";
import { until } from "../support/processes.ts";
import { action, exec, files, logs } from "./ui-allocation.ts";
import { answered, confirm, go, jobOf, logBox, type Step, type Walk } from "./ui-walk.ts";

const signIn: Step["walk"] = async (walk) => {
  const { page, secret } = walk;
  await go(walk, "/settings/tokens");
  await page.click("button", "Sign Out"); // of the anonymous token
  await page.fill("#token-input", secret);
  await page.click("button", "Sign in with secret");
  await page.shows("Token Authenticated!");
  await answered(walk, /^\/v1\/acl\/token\/self/);
};

const metadata: Step["walk"] = async (walk) => {
  const { page, job } = walk;
  const key = `walk-${job}`;
  const row = (value: string): string =>
    `[...document.querySelectorAll("tr")].some((one) => one.innerText.includes(${JSON.stringify(key)}) && one.innerText.includes(${JSON.stringify(value)}))`;
  await page.click("button", "Add new Dynamic Metadata");
  await page.fill("#new-meta-key", key);
  await page.fill(".metadata-editor label:nth-of-type(2) input", "blue");
  await page.click("button", `Add ${key} to node metadata`);
  await page.holds(row("blue"));
  await page.click(`tr:has([title="blue"]) button`, "Edit");
  await page.fill(".metadata-editor input", " sky");
  await page.click("button", `Update ${key}`);
  await page.holds(row("blue sky"));
  await page.click(`tr:has([title="blue sky"]) button`, "Edit");
  await page.click("button", "Delete Property");
  await page.holds(
    `![...document.querySelectorAll("tr")].some((one) => one.innerText.includes(${JSON.stringify(key)}))`,
  );
};

const search: Step["walk"] = async (walk) => {
  const { page, job } = walk;
  await page.shows("Jump to");
  await page.click(".ember-power-select-trigger", "Jump to");
  await page.holds(`document.activeElement?.tagName === "INPUT"`); // it comes with the list
  await page.type(job);
  await page.click(".global-search-dropdown .ember-power-select-option", job);
  await page.holds(`location.pathname === "/ui/jobs/${jobOf(walk)}"`);
};

const variable: Step["walk"] = async (walk) => {
  const { page, job } = walk;
  await go(walk, "/variables/new");
  await page.fill("input[placeholder^='nomad/jobs']", `walks/${job}`);
  await page.fill(".key-value input", "colour");
  await page.fill(".value-label textarea", "blue");
  await page.click("button", "Save Variable");
  await page.holds(`location.pathname === "/ui/variables/var/walks/${job}@default"`);
  await page.shows("colour");
};

const newJob = (walk: Walk): string =>
  `job "${walk.job}-new" {
  type = "batch"
  group "main" {
    task "say" {
      driver = "raw_exec"
      config {
        command = "/bin/echo"
        args = ["said"]
      }
      resources {
        cpu = 20
        memory = 20
      }
    }
  }
}`;

const runJob: Step["walk"] = async (walk) => {
  const { page } = walk;
  await go(walk, "/jobs/run");
  await page.click(".CodeMirror-scroll");
  await page.type(newJob(walk));
  await page.click("button", "Plan");
  await page.shows("Job Plan");
  await page.click("button", "Run");
  await page.holds(`location.pathname === "/ui/jobs/${walk.job}-new@default"`);
  await page.shows(/Complete/);
};

const monitor = async (walk: Walk): Promise<void> => {
  await until(
    "the agent's log is shown",
    async () => {
      await walk.stir();
      return (
        (await walk.page.evaluate(`/\\[(INFO|DEBUG|TRACE)\\]/.test(${logBox}?.innerText)`)) === true
      );
    },
    patienceMs,
  );
};

const setLevel = async ({ page }: Walk, level: string): Promise<void> => {
  await page.click(".ember-power-select-trigger", "Level");
  await page.click(".ember-power-select-option", level);
};

const chart = async (walk: Walk, wanted: RegExp): Promise<void> => {
  await answered(walk, wanted, { times: 2, before: walk.page.asked.length });
  await walk.page.holds(
    `document.querySelectorAll(".primary-metric").length >= 2 &&
     [...document.querySelectorAll(".primary-metric .annotation")].every((one) => /\\d/.test(one.innerText))`,
  );
};

/** Pages that are only looked at: where, and what they show. */
const looks = (walk: Walk): readonly (readonly [path: string, shown: string])[] => [
  [`/jobs/${jobOf(walk)}/definition`, "raw_exec"],
  [`/jobs/${jobOf(walk)}/versions`, "Version #0"],
  [`/jobs/${jobOf(walk)}/deployments`, "Deployment"],
  [`/jobs/${jobOf(walk)}/allocations`, walk.allocation.slice(0, 8)],
  [`/jobs/${jobOf(walk)}/evaluations`, "job-register"],
  [`/jobs/${jobOf(walk)}/services`, "web"],
  [`/jobs/${jobOf(walk)}/variables`, "Variables"],
  ["/clients", "client-1"],
  ["/servers", walk.server],
  [`/servers/${walk.server}`, "Tags"],
  ["/topology", "2 Nodes"],
  ["/evaluations", "job-register"],
  ["/storage", "Volumes"],
  ["/variables", "Variables"],
  ["/administration/policies", "operator"],
  ["/administration/tokens", "Bootstrap Token"],
  ["/administration/roles", "Roles"],
  ["/administration/namespaces", "other"],
  ["/settings/user-settings", "Live Updates to Jobs Index"],
];

export const steps: readonly Step[] = [
  {
    name: "the front page leads to the jobs and says that a token is needed",
    walk: async (walk) => {
      await walk.page.open(`${walk.origin}/`);
      await walk.page.holds(`location.pathname === "/ui/jobs"`);
      await walk.page.shows(/Not Authorized|sign in/i);
    },
  },
  { name: "a token signs in", walk: signIn },
  {
    name: "the jobs are listed",
    walk: async (walk) => {
      await walk.page.click("a", "Jobs");
      await walk.page.shows(walk.job);
    },
  },
  { name: "a search finds the job", walk: search },
  {
    name: "a job's page follows what happens elsewhere",
    walk: async (walk) => {
      await go(walk, `/jobs/${jobOf(walk)}`);
      await walk.page.shows("1/1 Allocation");
      await walk.page.evaluate("window.stays = true");
      await walk.scale(2);
      await walk.page.shows("2/2 Allocations");
      await walk.scale(1);
      await walk.page.shows("1/1 Allocation");
      assert.equal(await walk.page.evaluate("window.stays"), true);
    },
  },
  {
    name: "an allocation's page draws its statistics",
    walk: async (walk) => {
      await go(walk, `/allocations/${walk.allocation}`);
      await chart(walk, /^\/v1\/client\/allocation\/[^/]+\/stats/);
    },
  },
  {
    name: "a task's page draws its statistics",
    walk: async (walk) => {
      await go(walk, `/allocations/${walk.allocation}/talk`);
      await chart(walk, /^\/v1\/client\/allocation\/[^/]+\/stats/);
    },
  },
  { name: "logs are followed, paused and read from both ends", walk: logs },
  { name: "files are listed and shown", walk: files },
  { name: "a terminal runs a shell to its end", walk: exec },
  { name: "an action runs", walk: action },
  {
    name: "a client's page draws its statistics and changes its metadata",
    walk: async (walk) => {
      await go(walk, `/clients/${walk.node}`);
      await chart(walk, /^\/v1\/client\/stats/);
      await metadata(walk);
    },
  },
  {
    name: "a client's log is monitored",
    walk: async (walk) => {
      await go(walk, `/clients/${walk.node}/monitor`);
      await setLevel(walk, "Trace");
      await monitor(walk);
    },
  },
  {
    name: "a server's log is monitored",
    walk: async (walk) => {
      await go(walk, `/servers/${walk.server}/monitor`);
      await setLevel(walk, "Trace");
      await monitor(walk);
    },
  },
  {
    name: "all other pages are shown",
    walk: async (walk) => {
      for (const [path, shown] of looks(walk)) {
        await go(walk, path);
        await walk.page.shows(shown);
      }
    },
  },
  { name: "a variable is made", walk: variable },
  { name: "a new job is planned and run", walk: runJob },
  {
    name: "a task is restarted",
    walk: async (walk) => {
      await go(walk, `/allocations/${walk.allocation}/talk`);
      await walk.page.shows("Started At");
      const started = `/Started At.*/.exec(document.body.innerText)?.[0]`;
      const before = await walk.page.evaluate(started);
      await confirm(walk, "Restart Task");
      await walk.page.holds(`${started} !== ${JSON.stringify(before)}`);
    },
  },
  {
    name: "an allocation is restarted",
    walk: async (walk) => {
      await go(walk, `/allocations/${walk.allocation}`);
      await confirm(walk, "Restart Alloc");
      await answered(walk, /^\/v1\/client\/allocation\/[^/]+\/restart/, { times: 2 });
    },
  },
  {
    name: "an allocation is stopped",
    walk: async (walk) => {
      await confirm(walk, "Stop Alloc");
      await walk.page.shows("COMPLETE");
    },
  },
  {
    name: "a job is stopped",
    walk: async (walk) => {
      await go(walk, `/jobs/${jobOf(walk)}`);
      await confirm(walk, "Stop Job");
      await walk.page.shows("Start Job");
    },
  },
];

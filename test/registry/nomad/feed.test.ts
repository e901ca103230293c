import { feedSuite } from "../../suites/feed.ts";
import { nomadHarness } from "./feed-harness.ts";

feedSuite("Nomad", nomadHarness);

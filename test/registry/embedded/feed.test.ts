import { feedSuite } from "../../suites/feed.ts";
import { embeddedHarness } from "./feed-harness.ts";

feedSuite("embedded", embeddedHarness);

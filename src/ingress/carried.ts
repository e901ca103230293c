/** What the gateway carries itself in front of a Nomad cluster; all else, and all of another region, is the servers'. */
import { isElsewhere } from "./region.ts";

const carried =
  /^\/v1\/client\/(?:fs|allocation)(?:[/?]|$)|^\/v1\/client\/(?:metadata|stats|gc)(?:\?|$)|^\/v1\/allocation\/[^/?]*\/checks(?:\?|$)|^\/v1\/serai\/nodes\/[^/?]*\/reach(?:\?|$)/;

export const isCarried = (url: string, region: string): boolean =>
  carried.test(url) && !isElsewhere(url, region);

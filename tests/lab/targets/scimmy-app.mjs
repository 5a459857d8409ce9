// A small application on scimmy-routers. Its filters are case-sensitive, and it leaves paging out:
// each page has the same accounts. PORT and TOKEN are in the environment; the base is /scim/v2.
import { randomUUID } from "crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const store = { User: new Map(), Group: new Map() };
const missing = (id) => new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);

function declare(resource, name, key) {
  const all = store[name];
  const folded = (value) => String(value).toLowerCase();
  SCIMMY.Resources.declare(resource)
    .ingress(async (request, data) => {
      const id = request.id ?? randomUUID();
      if (request.id && !all.has(id)) throw missing(id);
      for (const [other, record] of all) {
        if (other !== id && folded(record[key]) === folded(data[key])) {
          throw new SCIMMY.Types.Error(409, "uniqueness", `${key} taken`);
        }
      }
      const now = new Date().toISOString();
      const meta = { created: all.get(id)?.meta?.created ?? now, lastModified: now };
      const record = { ...JSON.parse(JSON.stringify(data)), id, meta };
      all.set(id, record);
      return record;
    })
    .egress(async (request) => {
      if (!request.id) return request.filter ? request.filter.match([...all.values()]) : [...all.values()];
      if (!all.has(request.id)) throw missing(request.id);
      return all.get(request.id);
    })
    .degress(async (request) => {
      if (!all.delete(request.id)) throw missing(request.id);
    });
}

SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false);
declare(SCIMMY.Resources.User, "User", "userName");
declare(SCIMMY.Resources.Group, "Group", "displayName");
const handler = (request) => {
  if (request.header("authorization") !== `Bearer ${process.env.TOKEN}`) throw new Error("bad token");
  return "client";
};
const app = express();
app.use("/scim/v2", new SCIMMYRouters({ type: "bearer", handler }));
app.listen(Number(process.env.PORT), "127.0.0.1");

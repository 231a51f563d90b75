// A session with the npm package webdav. Arguments: its main module, the URL, the way to log in, the name, the password,
// and whether the server lists in depth. Names of files come on the standard input.
// Whatever is not as it should be is thrown.
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { once } from "node:events";

const [module, url, way, username, password, deep] = process.argv.slice(2);
const { AuthType, createClient, parseXML } = await import(module);
const login = way === "none" ? {} : { authType: AuthType[way], username, password };
const client = createClient(url, login);
const refused = status => error => (assert.equal(error.status, status), true);
const names = (await text(process.stdin)).split("\n");

// Folders.
await client.createDirectory("/folder");
await assert.rejects(client.createDirectory("/folder"), refused(405));
await assert.rejects(client.createDirectory("/not/there"), refused(409));
await client.createDirectory("/deep/er/and ü/deeper", { recursive: true });
assert.equal(await client.exists("/deep/er/and ü/deeper"), true);
assert.equal(await client.exists("/nothing"), false);

// Content: a string, bytes, a stream of unknown length, a stream of known length; and not over what is there.
assert.equal(await client.putFileContents("/folder/text.txt", "grüße"), true);
assert.equal(await client.putFileContents("/folder/text.txt", "other", { overwrite: false }), false);
assert.equal(await client.getFileContents("/folder/text.txt", { format: "text" }), "grüße");
const bytes = Buffer.alloc(300_000, "0123456789");
await client.putFileContents("/folder/bytes", bytes);
assert.deepEqual(Buffer.from(await client.getFileContents("/folder/bytes")), bytes);
await client.putFileContents("/folder/streamed", Readable.from([bytes, bytes]), { contentLength: false });
assert.deepEqual(await buffer(client.createReadStream("/folder/streamed")), Buffer.concat([bytes, bytes]));
await client.putFileContents("/folder/measured", Readable.from([bytes]), { contentLength: bytes.length });
await new Promise((resolve, reject) => {
    const stream = client.createWriteStream("/folder/written", {}, resolve);
    stream.on("error", reject);
    stream.end("written");
});
assert.equal(await client.getFileContents("/folder/written", { format: "text" }), "written");
await assert.rejects(client.putFileContents("/not/there.txt", "x"), refused(409));
await assert.rejects(client.getFileContents("/nothing"), refused(404));

// Ranges, and a change of a part.
const part = range => text(client.createReadStream("/folder/bytes", { range }));
assert.equal(await part({ start: 5, end: 9 }), "56789");
assert.equal(await part({ start: 299_997 }), "789");
await client.partialUpdateFileContents("/folder/written", 3, 5, "XYZ");
assert.equal(await client.getFileContents("/folder/written", { format: "text" }), "wriXYZn");

// What is told of them.
const told = await client.stat("/folder/text.txt");
assert.equal(told.type, "file");
assert.equal(told.size, 7);
assert.equal(told.mime, "text/plain");
assert.equal(told.basename, "text.txt");
assert.match(told.etag, /^[\x21-\x7e]+$/);
assert.ok(Math.abs(Date.parse(told.lastmod) - Date.now()) < 60_000);
assert.equal((await client.stat("/folder")).type, "directory");
const details = await client.stat("/folder/text.txt", { details: true });
assert.equal(details.data.props.getcontentlength, 7);
const listed = (await client.getDirectoryContents("/folder")).map(each => `${each.type} ${each.filename} ${each.size}`);
assert.deepEqual(listed.sort(), [
    "file /folder/bytes 300000", "file /folder/measured 300000", "file /folder/streamed 600000",
    "file /folder/text.txt 7", "file /folder/written 7",
]);
const below = client.getDirectoryContents("/deep", { deep: true });
if (deep === "deep")
    assert.deepEqual((await below).map(each => each.filename).sort(), ["/deep/er", "/deep/er/and ü", "/deep/er/and ü/deeper"]);
else
    await assert.rejects(below, refused(403));
const chosen = await client.getDirectoryContents("/folder", { glob: "/**/*.txt" });
assert.deepEqual(chosen.map(each => each.filename), ["/folder/text.txt"]);
assert.equal(await client.getQuota(), null); // it asks for all properties, and RFC 4331 §3 keeps quotas out of these
const quota = await client.getQuota({
    headers: { "Content-Type": "application/xml" },
    data: '<propfind xmlns="DAV:"><prop><quota-available-bytes/><quota-used-bytes/></prop></propfind>',
});
assert.ok(quota.available > 0 && quota.used >= 0, JSON.stringify(quota));

// Copies and moves.
await client.copyFile("/folder/text.txt", "/folder/cöpy #1.txt");
await client.moveFile("/folder/cöpy #1.txt", "/deep/moved & more.txt");
assert.equal(await client.getFileContents("/deep/moved & more.txt", { format: "text" }), "grüße");
assert.equal(await client.exists("/folder/cöpy #1.txt"), false);
await client.copyFile("/folder", "/copy of folder");
assert.equal((await client.getDirectoryContents("/copy of folder")).length, 5);
await assert.rejects(
    client.moveFile("/folder/bytes", "/folder/text.txt", { overwrite: false }), refused(412));

// Locks: who has no token may not.
const lock = await client.lock("/folder/text.txt", { timeout: "Second-600" });
assert.match(lock.token, /^(urn:uuid|opaquelocktoken):/);
await assert.rejects(client.putFileContents("/folder/text.txt", "x"), refused(423));
await assert.rejects(client.deleteFile("/folder/text.txt"), refused(423));
await assert.rejects(client.lock("/folder/text.txt"), refused(423));
await client.putFileContents("/folder/text.txt", "with the token", { headers: { If: `(<${lock.token}>)` } });
// With its own body that asks for a second lock (RFC 4918 §9.10.2: a refresh has none).
const refreshToken = `(<${lock.token}>)`;
await assert.rejects(client.lock("/folder/text.txt", { refreshToken }), refused(423));
const again = await client.lock("/folder/text.txt", { refreshToken, data: "" });
assert.equal(again.token, lock.token);
await client.unlock("/folder/text.txt", lock.token);
await client.putFileContents("/folder/text.txt", "and free");
await assert.rejects(client.unlock("/folder/text.txt", "urn:uuid:00000000-0000-4000-8000-000000000000"), refused(409));

// A request of its own making.
const answer = await client.customRequest("/folder", {
    method: "PROPFIND", headers: { Depth: "0", "Content-Type": "application/xml" },
    data: '<propfind xmlns="DAV:"><prop><resourcetype/><x xmlns="urn:y"/></prop></propfind>',
});
assert.equal(answer.status, 207);
assert.equal((await parseXML(await answer.text())).multistatus.response.length, 1);

// Names.
await client.createDirectory("/names");
for (const name of names) {
    await client.createDirectory(`/names/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await client.putFileContents(`/names/${name}`, name);
    assert.equal(await client.getFileContents(`/names/${name}`, { format: "text" }), name);
    assert.equal((await client.stat(`/names/${name}`)).size, Buffer.byteLength(name));
}
const all = await client.getDirectoryContents("/names");
assert.deepEqual(all.filter(each => each.type === "file").map(each => each.basename).sort(),
    names.filter(name => !name.includes("/")).sort());

// Twenty at once.
await Promise.all([...Array(20).keys()].map(async number => {
    await client.putFileContents(`/folder/at once ${number}`, String(number));
    assert.equal(await client.getFileContents(`/folder/at once ${number}`, { format: "text" }), String(number));
}));
for (const gone of ["/deep", "/copy of folder", "/folder/bytes"]) await client.deleteFile(gone);
await assert.rejects(client.deleteFile("/folder/bytes"), refused(404));

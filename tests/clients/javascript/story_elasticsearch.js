// The story with @elastic/elasticsearch: one line of JSON, what an application sees. See ../README.md.
import { Client, errors } from '@elastic/elasticsearch'

const index = process.env.STORY_INDEX
const client = new Client({ node: process.env.STORY_URL, compression: true })
const wine = { query: { match: { title: 'wine' } }, size: 12 }
const inOrder = { query: { match: { title: 'wine' } }, sort: ['n'], size: 3 }
const ids = answer => answer.hits.hits.map(hit => hit._id)
const errorOf = call =>
  call().then(() => null, error => {
    if (!(error instanceof errors.ResponseError)) throw error
    return [error.name, error.statusCode, error.body.error.type]
  })

const told = {}
// this node has no main page
told.info = await client.info().then(answer => answer.version.number, error => [error.name, error.statusCode])
told.ping = await client.ping().catch(error => [error.name, error.statusCode])
told.create = (await client.indices.create({ index, settings: { number_of_replicas: 0 } })).acknowledged
const bulk = await client.helpers.bulk({
  datasource: Array.from({ length: 12 }, (_, n) => ({ title: 'wine' + ' and water'.repeat(n), n })),
  onDocument: document => ({ index: { _index: index, _id: String(document.n) } }),
  refreshOnCompletion: index
})
told.bulk = bulk.successful
told.get = (await client.get({ index, id: '1' }))._source.title
told.exists = [await client.exists({ index, id: '1' }), await client.exists({ index, id: 'none' })]
told.count = (await client.count({ index })).count
told.search = ids(await client.search({ index, ...wine }))
told.opted_out = ids(await client.search({ index, ...wine }, { headers: { 'X-Rerank': 'off' } }))
const searches = [{}, inOrder, { index: index + '-none' }, wine]
const [first, second] = (await client.msearch({ index, searches })).responses
told.msearch = [ids(first), second.status]
told.scroll = []
for await (const page of client.helpers.scrollSearch({ index, ...inOrder })) told.scroll.push(...ids(page.body))
const pit = (await client.openPointInTime({ index, keep_alive: '1m' })).id
told.pit = ids(await client.search({ ...inOrder, pit: { id: pit } }))
await client.closePointInTime({ id: pit })
told.not_found = await errorOf(() => client.search({ index: index + '-none', ...wine }))
told.bad_request = await errorOf(() => client.search({ index, query: { none: {} } }))
told.delete = (await client.delete({ index, id: '1' })).result
told.drop = (await client.indices.delete({ index })).acknowledged
console.log(JSON.stringify(told))
await client.close()

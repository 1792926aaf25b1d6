// The story with @opensearch-project/opensearch: one line of JSON, what an application sees. See ../README.md.
import { Client, errors } from '@opensearch-project/opensearch'

const index = process.env.STORY_INDEX
const client = new Client({ node: process.env.STORY_URL, compression: 'gzip' })
const wine = { query: { match: { title: 'wine' } }, size: 12 }
const inOrder = { query: { match: { title: 'wine' } }, sort: ['n'], size: 3 }
const ids = answer => answer.hits.hits.map(hit => hit._id)
const errorOf = call =>
  call().then(() => null, error => {
    if (!(error instanceof errors.ResponseError)) throw error
    return [error.name, error.statusCode, error.body.error.type]
  })

const told = {}
told.info = (await client.info()).body.version.number
told.ping = (await client.ping()).body
told.create = (await client.indices.create({ index, body: { settings: { number_of_replicas: 0 } } })).body.acknowledged
const bulk = await client.helpers.bulk({
  datasource: Array.from({ length: 12 }, (_, n) => ({ title: 'wine' + ' and water'.repeat(n), n })),
  onDocument: document => ({ index: { _index: index, _id: String(document.n) } }),
  refreshOnCompletion: index
})
told.bulk = bulk.successful
told.get = (await client.get({ index, id: '1' })).body._source.title
told.exists = [(await client.exists({ index, id: '1' })).body, (await client.exists({ index, id: 'none' })).body]
told.count = (await client.count({ index })).body.count
told.search = ids((await client.search({ index, body: wine })).body)
told.opted_out = ids((await client.search({ index, body: wine }, { headers: { 'X-Rerank': 'off' } })).body)
const searches = [{}, inOrder, { index: index + '-none' }, wine]
const [first, second] = (await client.msearch({ index, body: searches })).body.responses
told.msearch = [ids(first), second.status]
told.scroll = []
for await (const page of client.helpers.scrollSearch({ index, body: inOrder })) told.scroll.push(...ids(page.body))
const pit = (await client.createPit({ index, keep_alive: '1m' })).body.pit_id
told.pit = ids((await client.search({ body: { ...inOrder, pit: { id: pit } } })).body)
await client.deletePit({ body: { pit_id: [pit] } })
const source = { query: { match: { title: '{{word}}' } }, sort: ['n'], size: 3 }
told.template = ids((await client.searchTemplate({ index, body: { source, params: { word: 'wine' } } })).body)
told.not_found = await errorOf(() => client.search({ index: index + '-none', body: wine }))
told.bad_request = await errorOf(() => client.search({ index, body: { query: { none: {} } } }))
told.delete = (await client.delete({ index, id: '1' })).body.result
told.drop = (await client.indices.delete({ index })).body.acknowledged
console.log(JSON.stringify(told))
await client.close()

// SPDX-License-Identifier: Apache-2.0
// Checks objects against Kubernetes' own schemas: a stream of YAML documents on stdin; findings on
// stderr, the objects as JSON on stdout, exit status 1 if there was a finding.
'use strict';
const fs = require('fs');
const {parseAllDocuments} = require('yaml');

let findings = 0;
function finding(where, what) {
  findings += 1;
  console.error(`${where}: ${what}`);
}

const objects = parseAllDocuments(fs.readFileSync(0, 'utf8'), {uniqueKeys: true}).map((document) => {
  for (const error of document.errors) finding('yaml', error.message);
  const object = document.toJS();
  const where = `${object.kind} ${object.metadata && object.metadata.name}`;
  const models = require(`kubernetes-models/${object.apiVersion}`);
  if (models[object.kind] === undefined) {
    finding(where, `${object.apiVersion} has no such kind`);
    return object;
  }
  try {
    new models[object.kind](object).validate();
  } catch (error) {
    finding(where, error.message);
  }
  return object;
});
console.log(JSON.stringify(objects));
process.exitCode = findings === 0 ? 0 : 1;

#pragma once
// Every kernel of the table.
#include "table.h"

#include "attention.h"
#include "attention_parts.h"
#include "attention_tiles.h"
#include "experts.h"
#include "largest.h"
#include "matmul.h"
#include "recurrent.h"
#include "rows.h"
#include "tiles_blocks.h"
#include "tiles_floats.h"
#include "tiles_halves.h"
#if !defined(__METAL_VERSION__)
#include "warpgroup.h"
#endif

#pragma once

namespace ingot::converters {

/// `number`, written with the fewest digits that are it, as Hugging Face's library reads it: it takes the
/// digits as one whole number and divides by a power of ten, which may miss the nearest float64 by one.
double as_tokenizers_reads(double number);

/// The way back: a number whose fewest digits that library reads as `score`; `score` itself where none does.
double number_that_tokenizers_reads_as(double score);

}  // namespace ingot::converters
